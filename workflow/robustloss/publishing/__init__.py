"""Finished results in git and DVC: publishing them, fetching what a paper needs, attacking published networks again.

Git has the small numbers, DVC the bytes: each run's weights and per-sample outcomes behind one `bytes.dvc` in its
folder, each data set behind one `.dvc` beside its own. All functions work in the repository's root.
"""
