"""A real PostgreSQL of the machine, in a folder and on a port of its own."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile

from . import wait
from .ports import Port


class Postgres:
    def __init__(self):
        self.programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.user = pwd.getpwnam("postgres")
        self.folder = tempfile.mkdtemp(prefix="irori-e2e-pg-")
        os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self._port = Port()
        self.port = self._port.number
        self._run("initdb", "-D", self.folder + "/data", "-A", "trust", "--no-sync")
        with open(self.folder + "/data/pg_hba.conf", "a", encoding="ascii") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        self.process = subprocess.Popen(
            [self.programs + "/postgres", "-D", self.folder + "/data", "-p", str(self.port), "-k", self.folder,
             "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
            user=self.user.pw_uid, group=self.user.pw_gid, extra_groups=[], stderr=subprocess.DEVNULL)
        wait.until(lambda: self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), check=False) == 0, 30, "PostgreSQL")

    def _run(self, program, *args, check=True):
        done = subprocess.run([f"{self.programs}/{program}", *args], capture_output=True, text=True, check=False,
                              user=self.user.pw_uid, group=self.user.pw_gid, extra_groups=[], cwd=self.folder)
        assert not check or done.returncode == 0, done.stderr
        return done.returncode

    def backends(self):
        """Process ids of the sessions."""
        done = subprocess.run([self.programs + "/psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-Atc",
                               "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"],
                              capture_output=True, text=True, check=True)
        return [int(line) for line in done.stdout.split()]

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._port.release()
