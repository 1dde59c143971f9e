"""Zips the functions that infra/functions.txt lists, and prints a line for each: its name, its parameter of the template, the
zip's key in the bucket, and the zip's hash as Lambda shows it.

usage: package.py FOLDER BINARIES [--fast]

A binary is BINARIES/PACKAGE, or BINARIES/PACKAGE/bootstrap. The zip is FOLDER/NAME/HASH.zip. Its bytes depend on the
binary's alone, so a function that has not changed keeps its key, and CloudFormation leaves it as it is. With --fast it is
made in a moment, and is larger.
"""

import base64
import concurrent.futures
import hashlib
import io
import os
import pathlib
import sys
import zipfile


def main(folder, binaries, level=9):
    listed = (pathlib.Path(__file__).parent / "functions.txt").read_text(encoding="utf-8").splitlines()
    functions = [line.split() for line in listed if not line.startswith("#")]

    def zipped(function):
        name, package, *_ = function
        binary = pathlib.Path(binaries, package)
        return package_into(pathlib.Path(folder, name), binary / "bootstrap" if binary.is_dir() else binary, level)

    # Reading, hashing and compressing leave Python's lock to others.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        for (name, _, parameter, *_), archive in zip(functions, threads.map(zipped, functions)):
            digest = base64.b64encode(hashlib.sha256(archive.read_bytes()).digest()).decode()
            print(name, parameter, f"{name}/{archive.name}", digest)


def package_into(folder, binary, level):
    """The zip in `folder`. One that has the binary's time was made of it, and stays."""
    made, archives = binary.stat().st_mtime_ns, list(folder.glob("*.zip"))
    if [archive.stat().st_mtime_ns for archive in archives] == [made]:
        return archives[0]
    for archive in archives:
        archive.unlink()

    # Lambda runs the file of this name. A ZipInfo of its own has no clock in it, only what is said here.
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(entry, binary.read_bytes(), zipfile.ZIP_DEFLATED, level)

    archive = folder / f"{hashlib.sha256(content.getvalue()).hexdigest()[:32]}.zip"
    folder.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(content.getvalue())
    os.utime(archive, ns=(made, made))
    print(f"    {folder.name}: {archive.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return archive


if __name__ == "__main__":
    main(*sys.argv[1:3], *(1 for flag in sys.argv[3:] if flag == "--fast"))
