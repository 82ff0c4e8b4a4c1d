#!/bin/sh
# The browser in which the tests of this folder look at the report, from Debian, as root.
set -eu
command -v chromium >/dev/null && exit 0
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
