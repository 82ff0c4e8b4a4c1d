# What Snakemake asks several times a job is answered once. Included after the functions that it asks.
import inspect
from functools import cache

from snakemake.common import overwrite_function_params
from snakemake.jobs import Job
from snakemake.resources import Resource


def asked_often(function):
    # Snakemake asks for a function's parameters several times a job; answered in advance, a large plan is 9 % faster.
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


asked_often(Resource.evaluate)

for value in [*globals().values()]:
    if inspect.isfunction(value) and value.__globals__ is globals():
        asked_often(value)

# Snakemake writes out the shell command three times when it tells of a job: another 8 %.
Job.shellcmd = property(cache(Job.shellcmd.fget))
