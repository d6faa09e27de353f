"""One Lucas-Kanade step between two warped images."""
