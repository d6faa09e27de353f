"""The frames nearest to two references."""
