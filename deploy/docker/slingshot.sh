#!/bin/bash
# Builds libfabric with the CXI provider and NCCL's plugin for it into /opt/slingshot of an image with CUDA.
#
# Versions come from the environment: LIBFABRIC_VERSION, CXI_VERSION and AWS_OFI_NCCL_VERSION, all of which are tags of the projects.
set -euo pipefail

prefix=/opt/slingshot
cuda=${CUDA_HOME:-/usr/local/cuda}
: "${LIBFABRIC_VERSION:?}" "${CXI_VERSION:?}" "${AWS_OFI_NCCL_VERSION:?}"

apt-get update
apt-get install -y --no-install-recommends \
  autoconf automake build-essential ca-certificates curl git libconfig-dev libcurl4-openssl-dev libfuse-dev libhwloc-dev \
  libjson-c-dev libnl-3-dev libnl-genl-3-dev libnuma-dev libsensors-dev libtool libuv1-dev libyaml-dev pkg-config
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cd "$work"

# The headers of the network's driver and the library over it: libfabric's provider is built against both.
for project in shs-cassini-headers shs-cxi-driver shs-libcxi; do
  git clone --depth 1 --branch "$CXI_VERSION" "https://github.com/HewlettPackard/$project"
done
mkdir -p "$prefix/include"
cp -r shs-cassini-headers/include/. "$prefix/include"
cp -r shs-cxi-driver/include/. "$prefix/include"
(
  cd shs-libcxi
  ./autogen.sh
  ./configure --prefix="$prefix" CPPFLAGS="-I$prefix/include"
  make -j"$(nproc)" install
)

git clone --depth 1 --branch "$LIBFABRIC_VERSION" https://github.com/ofiwg/libfabric
(
  cd libfabric
  ./autogen.sh
  ./configure --prefix="$prefix" --enable-cxi="$prefix" --with-cassini-headers="$prefix" --with-cxi-uapi-headers="$prefix" \
    --with-cuda="$cuda" --enable-cuda-dlopen --disable-verbs --disable-efa --disable-opx --disable-psm3
  make -j"$(nproc)" install
)

git clone --depth 1 --branch "$AWS_OFI_NCCL_VERSION" https://github.com/aws/aws-ofi-nccl
(
  cd aws-ofi-nccl
  ./autogen.sh
  ./configure --prefix="$prefix" --with-libfabric="$prefix" --with-cuda="$cuda" --disable-tests
  make -j"$(nproc)" install
)

echo "$prefix/lib" > /etc/ld.so.conf.d/slingshot.conf
ldconfig
# The image is of no use if the provider is not in it.
"$prefix/bin/fi_info" -l | grep -q '^cxi:'
rm -rf /var/lib/apt/lists/*
