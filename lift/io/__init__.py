"""Videos and folders of frames: one decoder, one folder reader, one encoder."""
