"""`gantool watch`: a live page of a training, on loopback. No torch."""
