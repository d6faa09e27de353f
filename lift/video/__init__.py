"""From a video file or a folder of frames to a smoother one: read, scene cuts, the streaming
interpolator, write.
"""
