"""Ceph's object gateway over one monitor and one store in memory, from Debian's packages."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path

from .server import (
    Found,
    Server,
    StartError,
    answers,
    free_port,
    spawn,
    stop,
    temporary_folder,
    wait_until,
)

PROGRAMS = (
    "ceph-mon",
    "ceph-osd",
    "radosgw",
    "radosgw-admin",
    "ceph",
    "monmaptool",
    "ceph-authtool",
)
PACKAGES = "radosgw ceph-mon ceph-osd ceph-common"
STEP_SECONDS = 60

# cephx and not "none": with "none" the gateway hangs in its first authentication.
CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{monitor}/0
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_crush_chooseleaf_type = 0
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 2000
osd_objectstore = memstore
memstore_device_bytes = 4294967296
memstore_page_size = 65536
run_dir = {folder}/run
admin_socket = {folder}/run/$name.$pid.asok
pid_file = {folder}/run/$name.pid
log_file = {folder}/run/$name.log
crash_dir = {folder}/run
keyring = {folder}/keyring
mon_data = {folder}/mon.a
osd_data = {folder}/osd.0
osd_crush_update_on_start = false
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[client.rgw]
keyring = {folder}/keyring
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 64
rgw_gc_obj_min_wait = 5
rgw_enable_usage_log = false
rgw_dns_name = localhost
"""


def find_or_install() -> Found:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return Found(
            None,
            f"{', '.join(missing)} not installed: apt-get install --no-install-recommends {PACKAGES}",
        )
    return Found(shutil.which("radosgw"))


def start(folder: Path | None = None) -> Server:
    found = find_or_install()
    if found.program is None:
        raise RuntimeError(found.reason)
    folder = folder or temporary_folder("radosgw")
    for name in ("mon.a", "osd.0", "run", "rgw"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    children: list[subprocess.Popen[bytes]] = []
    try:
        return _start(folder, children)
    except BaseException:
        for child in reversed(children):
            stop(child)
        raise


def _start(folder: Path, children: list[subprocess.Popen[bytes]]) -> Server:
    fsid, monitor, port = str(uuid.uuid4()), free_port(), free_port()
    configuration, keyring, log = folder / "ceph.conf", folder / "keyring", folder / "radosgw.log"
    configuration.write_text(
        CONFIGURATION.format(fsid=fsid, monitor=monitor, port=port, folder=folder)
    )

    def step(*arguments: str | Path) -> None:
        words = [str(argument) for argument in arguments]
        try:
            done = subprocess.run(words, capture_output=True, timeout=STEP_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise StartError(f"{' '.join(words)} took more than {STEP_SECONDS} s") from error
        if done.returncode != 0:
            raise StartError(
                f"{' '.join(words)} failed: {done.stderr.decode(errors='replace')[-1000:]}"
            )

    def child(*arguments: str | Path) -> None:
        children.append(spawn(arguments, log))

    with_conf = ("-c", configuration)
    step("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor}/0]",
         folder / "monmap")  # fmt: skip
    step(
        "ceph-authtool",
        "--create-keyring",
        keyring,
        "--gen-key",
        "-n",
        "mon.",
        "--cap",
        "mon",
        "allow *",
    )
    for name in ("client.admin", "client.rgw", "osd.0"):
        step("ceph-authtool", keyring, "--gen-key", "-n", name,
             "--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")  # fmt: skip
    step(
        "ceph-mon",
        *with_conf,
        "--mkfs",
        "-i",
        "a",
        "--monmap",
        folder / "monmap",
        "--keyring",
        keyring,
    )
    child("ceph-mon", "-f", *with_conf, "-i", "a")
    osd = str(uuid.uuid4())
    step("ceph", *with_conf, "osd", "new", osd)
    step("ceph-osd", *with_conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
    step("ceph", *with_conf, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h0")
    child("ceph-osd", "-f", *with_conf, "-i", "0")
    child("radosgw", "-f", *with_conf, "-n", "client.rgw")
    endpoint = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(endpoint), children, log)
    access_key, secret_key = "ceph-test-key", "ceph-test-secret"
    step("radosgw-admin", *with_conf, "-n", "client.rgw", "user", "create", "--uid=test", "--display-name=test",
         f"--access-key={access_key}", f"--secret-key={secret_key}")  # fmt: skip
    return Server("radosgw", endpoint, access_key, secret_key, "us-east-1", folder, children)
