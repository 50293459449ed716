"""Drives a FirecREST v2 server with the official client, pyfirecrest, and its command line.

    pyfirecrest.py BASE_URL TOKEN_URL CLIENT_ID CLIENT_SECRET

The first system, its default file system and the user's default account are taken. Every mismatch ends the program with
a message and an exit code other than 0. Run it with the Python of an environment that has pyfirecrest installed.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import firecrest


def expect(found, wanted, what):
    if found != wanted:
        sys.exit(f"{what}: found {found!r}, wanted {wanted!r}")


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class Check:
    def __init__(self, base_url, token_url, client_id, client_secret, local):
        authorization = firecrest.ClientCredentialsAuth(client_id, client_secret, token_url, min_token_validity=60)
        self.client = firecrest.v2.Firecrest(firecrest_url=base_url, authorization=authorization)
        self.environment = {
            **os.environ,
            "FIRECREST_URL": base_url,
            "AUTH_TOKEN_URL": token_url,
            "FIRECREST_CLIENT_ID": client_id,
            "FIRECREST_CLIENT_SECRET": client_secret,
        }
        self.local = pathlib.Path(local)

    def systems(self):
        system = self.client.systems()[0]
        self.system = system["name"]
        self.environment["FIRECREST_SYSTEM"] = self.system
        file_system = next(one for one in system["fileSystems"] if one["defaultWorkDir"])
        info = self.client.userinfo(self.system)
        self.account = next(one["name"] for one in info["accounts"] if one["default"])
        self.folder = f"{file_system['path']}/{info['user']['name']}/pyfirecrest-{os.getpid()}"
        expect(len(self.client.nodes(self.system)) > 0, True, "nodes")
        expect(self.client.partitions(self.system)[0]["partition"], "UP", "partition")
        expect(self.client.reservations(self.system), [], "reservations")

    def small_files(self):
        self.client.mkdir(self.system, self.folder, create_parents=True)
        source = self.local / "small.bin"
        source.write_bytes(os.urandom(70_000))
        self.client.upload(self.system, str(source), self.folder, "small.bin", account=self.account)
        listed = self.client.list_files(self.system, self.folder)
        expect([(one["name"], one["size"]) for one in listed], [("small.bin", "70000")], "list")
        path = f"{self.folder}/small.bin"
        expect(self.client.stat(self.system, path)["size"], 70_000, "stat")
        expect(self.client.checksum(self.system, path)["checksum"], sha256(source), "checksum")
        self.client.download(self.system, path, str(self.local / "small.back"), account=self.account)
        expect(sha256(self.local / "small.back"), sha256(source), "small download")
        expect(self.client.chmod(self.system, path, "600")["permissions"], "rw-------", "chmod")
        link = self.client.symlink(self.system, path, f"{self.folder}/link")["output"]
        expect((link["type"], link["linkTarget"]), ("l", path), "symlink")
        self.client.rm(self.system, f"{self.folder}/link", account=self.account)
        try:
            self.client.stat(self.system, f"{self.folder}/link")
            sys.exit("rm: the link is still there")
        except firecrest.UnexpectedStatusException as error:
            expect(error.responses[-1].status_code, 404, "stat of a removed file")

    def large_files(self):
        source = self.local / "large.bin"
        source.write_bytes(os.urandom(2_500_000))
        self.client.upload(self.system, str(source), self.folder, "large.bin", account=self.account)
        path = f"{self.folder}/large.bin"
        expect(self.client.checksum(self.system, path)["checksum"], sha256(source), "large upload")
        self.client.download(self.system, path, str(self.local / "large.back"), account=self.account)
        expect(sha256(self.local / "large.back"), sha256(source), "large download")
        copy, moved = f"{self.folder}/copy.bin", f"{self.folder}/moved.bin"
        self.client.cp(self.system, path, copy, account=self.account, blocking=True)
        self.client.mv(self.system, copy, moved, account=self.account, blocking=True)
        expect(self.client.checksum(self.system, moved)["checksum"], sha256(source), "copy and move")
        packed, unpacked = f"{self.folder}/moved.tar.gz", f"{self.folder}/unpacked"
        self.client.compress(self.system, moved, packed)
        self.client.mkdir(self.system, unpacked, create_parents=True)
        self.client.extract(self.system, packed, unpacked)
        checksum = self.client.checksum(self.system, f"{unpacked}/moved.bin")["checksum"]
        expect(checksum, sha256(source), "compress and extract")

    def script(self, body):
        return f"#!/bin/bash -l\n#SBATCH --job-name=pyf\n#SBATCH --time=00:02:00 --nodes=2\n{body}\n"

    def jobs(self):
        script = self.script("echo $QPS; srun -n2 true; exit 3")
        job = self.client.submit(
            self.system, self.folder, script_str=script, env_vars={"QPS": "7"}, account=self.account
        )
        ended = self.client.wait_for_job(self.system, job["jobId"])[0]
        status = (ended["status"]["state"], ended["status"]["exitCode"])
        expect((ended["name"], status), ("pyf", ("FAILED", 3)), "job")
        expect([task["name"] for task in ended["tasks"]], ["batch", "true"], "steps")
        metadata = self.client.job_metadata(self.system, job["jobId"])[0]
        expect(self.client.view(self.system, metadata["standardOutput"]), "7\n", "output of the job")
        script = self.script("sleep 600")
        job = self.client.submit(self.system, self.folder, script_str=script, account=self.account)
        self.client.cancel_job(self.system, job["jobId"])
        state = self.client.wait_for_job(self.system, job["jobId"])[0]["status"]["state"]
        expect(state.split()[0], "CANCELLED", "cancelled job")
        try:
            self.client.submit(self.system, self.folder, script_str=self.script("true"), account="nosuch")
            sys.exit("submit: an unknown account was accepted")
        except firecrest.UnexpectedStatusException as error:
            expect("Invalid account" in error.responses[-1].text, True, "refusal of an account")

    def command(self, *arguments):
        program = pathlib.Path(sys.executable).parent / "firecrest"
        done = subprocess.run(
            [program, *arguments], env=self.environment, capture_output=True, text=True, timeout=120
        )
        expect(done.returncode, 0, f"firecrest {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def command_line(self):
        expect(self.system in self.command("systems"), True, "systems of the command line")
        expect("small.bin" in self.command("ls", self.folder), True, "ls of the command line")
        source = self.local / "cli.txt"
        source.write_text("by the command line\n")
        self.command("upload", str(source), self.folder)
        back = self.local / "cli.back"
        self.command("download", f"{self.folder}/cli.txt", str(back))
        expect(back.read_text(), "by the command line\n", "download of the command line")
        checksum = self.command("checksum", f"{self.folder}/cli.txt")
        expect(sha256(source) in "".join(checksum.split()), True, "checksum of the command line")
        script = self.local / "job.sh"
        script.write_text(self.script("true"))
        submitted = self.command("submit", "--working-dir", self.folder, "--account", self.account, str(script))
        job = str(json.loads(submitted)["jobId"])
        expect("COMPLETED" in self.command("wait-for-job", job), True, "job of the command line")


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as local:
        check = Check(*sys.argv[1:], local)
        for step in (check.systems, check.small_files, check.large_files, check.jobs, check.command_line):
            step()
            print(f"{step.__name__}: as expected", flush=True)


main()
