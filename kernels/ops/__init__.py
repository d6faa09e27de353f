"""The operations, a package each: public function, reference, backends."""
