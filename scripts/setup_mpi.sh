#!/usr/bin/env bash
# What learning in several processes (cargo feature `mpi`) is built and tested with: an MPI and libclang, from
# Debian's packages where they are missing. Prints cargo's option for that feature; nothing beside Linux, where
# several processes are not tested.
set -euo pipefail
[ "$(uname)" = Linux ] || exit 0
found() {
    command -v mpicc > /dev/null && command -v mpirun > /dev/null &&
        { [ -n "${LIBCLANG_PATH:-}" ] || ldconfig -p 2> /dev/null | grep -q 'libclang[-.]' ||
            compgen -G '/usr/lib/llvm*/lib/libclang*.so*' > /dev/null; } && echo --features=mpi
}
found && exit
packages=(openmpi-bin libopenmpi-dev libclang-dev)
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)
if command -v apt-get > /dev/null && "${as_root[@]}" true 2> /dev/null; then
    "${as_root[@]}" apt-get update > /dev/null
    "${as_root[@]}" apt-get install --yes --no-install-recommends "${packages[@]}" > /dev/null
fi
found && exit
echo "mpicc, mpirun or libclang is missing: apt-get install ${packages[*]}" >&2
echo "without them: cargo test --workspace, which leaves out what several processes learn" >&2
exit 1
