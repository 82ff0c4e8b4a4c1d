"""For all tests: one thread in each worker, as in the workflow's jobs; more would wait for each other, spinning."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
