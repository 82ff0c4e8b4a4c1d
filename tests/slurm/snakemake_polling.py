"""Snakemake as it is, but it asks after its submissions every second; the executor's own pauses grow to minutes."""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def pause(self):
    await asyncio.sleep(1)


if __name__ == "__main__":
    RemoteExecutor.sleep = pause
    sys.exit(main())
