#!/usr/bin/env bash
# Puts Intel's multi-buffer RSA (crypto_mb, Apache-2.0) into target/lib/libcrypto_mb.so, where a bridge in target/release or
# target/debug finds it. The static archive comes from PyPI by pip, pinned by version and hash, and is linked with cc into
# a shared object that needs nothing but libc and exports only what src/ffi.rs calls. Idempotent.
#
# It is optional: on a CPU without AVX512-IFMA nothing is done, and where it cannot be had the bridge signs by aws-lc-rs.
# Then this says so and ends with 0; with --require it ends with 69.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

without=0
case ${1-} in
'') ;;
--require) without=69 ;;
*) fail 64 "usage: scripts/crypto_mb.sh [--require]" ;;
esac

version=2026.2.0
hash=b4b952a9435f7aab3d1684822f644d586ce5f6bda874e4bfb8c008ee674ca5c5 # of its only wheel, manylinux_2_28_x86_64
folder=${CARGO_TARGET_DIR:-target}/lib
library=$folder/libcrypto_mb.so
marker="crypto_mb $version, $(cksum <scripts/crypto_mb.sh)"

if ! grep -qw avx512ifma /proc/cpuinfo 2>/dev/null; then
    say "this CPU has no AVX512-IFMA: without crypto_mb, signatures are made by aws-lc-rs"
    exit 0
fi
if [ -f "$library" ] && [ "$(cat "$library.made-from" 2>/dev/null)" = "$marker" ]; then
    say "crypto_mb $version is in $folder"
    exit 0
fi

python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'ipp-crypto-static==%s --hash=sha256:%s\n' "$version" "$hash" >"$work/wheels.txt"
say "fetching crypto_mb $version with pip"
if ! python3 -m pip --disable-pip-version-check download --quiet --no-deps --require-hashes --only-binary :all: \
    --dest "$work" --requirement "$work/wheels.txt" </dev/null >&2; then
    fail $without "pip could not fetch ipp-crypto-static $version: without crypto_mb, signatures are made by aws-lc-rs"
fi
python3 -m zipfile -e "$work"/ipp_crypto_static-*.whl "$work"
archive=$(find "$work" -name libcrypto_mb.a)

symbols=(mbx_getversion mbx_get_algo_info mbx_RSA_private_crt_Method mbx_RSA_pub65537_Method mbx_RSA_Method_BufSize
    mbx_rsa_private_crt_mb8 mbx_rsa_public_mb8)
printf '{ global: %slocal: *; };\n' "$(printf '%s; ' "${symbols[@]}")" >"$work/exports"
# Two functions of OpenSSL are named by parts of the archive that take BIGNUMs. Nothing exported calls those.
printf '%s\n' 'int BN_num_bits(const void *a) { (void)a; __builtin_trap(); }' \
    'int BN_bn2lebinpad(const void *a, unsigned char *to, int n) { (void)a, (void)to, (void)n; __builtin_trap(); }' \
    >"$work/never-called.c"
mkdir -p "$folder"
cc -O2 -shared -fPIC -s -o "$library.new" "$work/never-called.c" "${symbols[@]/#/-Wl,-u,}" \
    -Wl,--version-script="$work/exports" -Wl,--gc-sections -Wl,-z,defs -Wl,-z,relro,-z,now,-z,noexecstack "$archive"
find "$work" -name 'LICENSE*' -path '*static*' -exec cp {} "$library.LICENSE.txt" \;
mv "$library.new" "$library"
printf '%s\n' "$marker" >"$library.made-from"
say "crypto_mb $version is in $folder"
