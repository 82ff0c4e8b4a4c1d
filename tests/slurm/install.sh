#!/bin/sh
# What the tests of this folder need of Debian or Ubuntu, as root. Installs the programs and starts no service.
set -eu
command -v slurmctld >/dev/null && command -v slurmdbd >/dev/null && command -v mariadb-install-db >/dev/null && exit 0
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    # Packages ask this script whether their services may start: 101 says no.
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
# mariadb-server itself would bring a service and a user of its own.
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    munge slurm-client slurmctld slurmd slurm-wlm-basic-plugins \
    slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core
