#!/bin/sh
# libfaketime 3.0.1 (PyPI): the wheel is tagged for any platform, and its library is made for Linux on x86-64 alone.
# Expected: a wheel with compiled code names its platform (PyPA, "Platform compatibility tags"), so that pip builds the
#           library from source on others, or refuses.
# Behaviour: on aarch64 or macOS pip installs it without a word; the library then cannot be loaded.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip --disable-pip-version-check -q download --no-deps --only-binary :all: --dest "$folder" \
    --platform manylinux2014_aarch64 libfaketime==3.0.1
python3 - "$folder" <<'EOF'
import pathlib
import struct
import sys
import zipfile

(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (name,) = [name for name in archive.namelist() if name.endswith(".so.1")]
    (machine,) = struct.unpack("<H", archive.read(name)[18:20])
print(wheel.name, name, f"ELF machine {machine} (62 is x86-64, 183 is aarch64)")
sys.exit(0 if wheel.name.endswith("-py3-none-any.whl") and machine == 62 else 1)
EOF
