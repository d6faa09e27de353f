"""The input of a flow block's first convolution: warped features, their correlation, flows."""
