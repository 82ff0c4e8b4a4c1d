"""Questions to a finished results folder: what a cell rests on, why a job would run, whether all is as written."""
