"""The frame that the refinement's residuals make of the references."""
