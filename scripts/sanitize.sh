#!/usr/bin/env bash
# Runs the tests of crates/bnn-kernels, where all `unsafe` is but for the C interface of crates/bnn-ops, under tools that see what a test does
# not: reads and writes beyond a buffer, of memory never written, undefined behaviour, races of threads.
#
#   scripts/sanitize.sh                 all of them that this machine has
#   scripts/sanitize.sh address         AddressSanitizer: the vector instructions of this processor
#   scripts/sanitize.sh thread          ThreadSanitizer: the same, on several threads (builds Rust's library too)
#   scripts/sanitize.sh miri            Miri: the portable kernels and all that surrounds the tiles
#   scripts/sanitize.sh valgrind        memcheck, which needs no nightly Rust; up to AVX2
#   scripts/sanitize.sh neon            no such tool but another processor: the instructions of Arm, in an emulator
#
# The first three need nightly Rust: rustup toolchain install nightly --component miri,rust-src
# The last one needs: apt-get install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross
#                     rustup target add aarch64-unknown-linux-gnu
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
arm=aarch64-unknown-linux-gnu
tests=(-p bnn-kernels --lib)

nightly() { cargo +nightly -V >/dev/null 2>&1; }

# Why this machine cannot run a tool; nothing if it can.
missing() {
    case $1 in
    address)
        nightly || { echo "no nightly Rust (rustup toolchain install nightly)" && return; }
        local libraries
        libraries=$(rustc +nightly --print sysroot)/lib/rustlib/$host/lib
        compgen -G "$libraries/*rt*asan*" >/dev/null || echo "nightly Rust for $host has no AddressSanitizer"
        ;;
    thread)
        nightly || { echo "no nightly Rust (rustup toolchain install nightly)" && return; }
        [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ] ||
            echo "no source of Rust's library (rustup component add rust-src --toolchain nightly)"
        ;;
    miri)
        cargo +nightly miri -V >/dev/null 2>&1 || echo "no Miri (rustup component add miri rust-src --toolchain nightly)"
        ;;
    valgrind)
        command -v valgrind >/dev/null || echo "no valgrind"
        ;;
    neon)
        command -v qemu-aarch64-static >/dev/null || { echo "no qemu-aarch64-static" && return; }
        command -v aarch64-linux-gnu-gcc >/dev/null || { echo "no aarch64-linux-gnu-gcc" && return; }
        [ -d "$(rustc --print sysroot)/lib/rustlib/$arm" ] || echo "no Rust for Arm (rustup target add $arm)"
        ;;
    *)
        echo "usage: scripts/sanitize.sh [address|thread|miri|valgrind|neon]..." >&2
        exit 2
        ;;
    esac
}

run() {
    case $1 in
    address)
        # A target is named so that build scripts and macros, which are for the host, are left alone.
        RUSTFLAGS="-Zsanitizer=address ${RUSTFLAGS:-}" \
            cargo +nightly test --release --target "$host" "${tests[@]}"
        ;;
    thread)
        # Rust's own library is built with it too: what that synchronises would else be taken for races.
        RUSTFLAGS="-Zsanitizer=thread ${RUSTFLAGS:-}" TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS:-}" \
            RAYON_NUM_THREADS=4 \
            cargo +nightly test --release -Zbuild-std --target "$host" "${tests[@]}"
        ;;
    miri)
        # rayon's queues (crossbeam-epoch) make pointers of integers, are undefined in the older model
        # of borrows, and its threads outlive `main`.
        RAYON_NUM_THREADS=2 \
            MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-tree-borrows -Zmiri-permissive-provenance -Zmiri-ignore-leaks" \
            cargo +nightly miri test "${tests[@]}"
        ;;
    valgrind)
        # It compares NaN wrongly (vcmpneq_oqps), which this test is about.
        cargo test --release "${tests[@]}" \
            --config "target.$host.runner = ['valgrind', '--quiet', '--error-exitcode=1']" \
            -- --skip what_is_no_number_is_left_to_others
        ;;
    neon)
        cargo test --release --target "$arm" "${tests[@]}" \
            --config "target.$arm.linker = 'aarch64-linux-gnu-gcc'" \
            --config "target.$arm.runner = ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu']"
        ;;
    esac
}

if [ $# -gt 0 ]; then
    for tool in "$@"; do
        why=$(missing "$tool")
        [ -z "$why" ] || { echo "$tool: $why" >&2 && exit 3; }
    done
    for tool in "$@"; do run "$tool"; done
    exit
fi
ran=0
for tool in address thread miri valgrind neon; do
    why=$(missing "$tool")
    if [ -n "$why" ]; then
        echo "$tool: left out, $why" >&2
        continue
    fi
    echo "$tool:" >&2
    run "$tool"
    ran=1
done
[ $ran = 1 ] || { echo "none of these tools is here" >&2 && exit 3; }
