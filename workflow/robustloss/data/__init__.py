"""The data sets: from what their makers publish to prepared arrays that training can map into memory."""
