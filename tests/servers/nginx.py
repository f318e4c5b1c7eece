"""nginx: objects as files, anonymous GET, HEAD and single PUT; the fastest thing on a loopback."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .server import Found, Server, start_http, temporary_folder

CONFIGURATION = """
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  sendfile_max_chunk 2m;
  keepalive_requests 10000000; keepalive_timeout 300s;
  open_file_cache max=20000 inactive=600s; open_file_cache_valid 600s; open_file_cache_min_uses 1;
  default_type application/octet-stream;
  client_max_body_size 0;
  client_body_buffer_size 1m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {folder}/data;
    location = /__ready {{ return 200; }}
    location / {{
      dav_methods PUT DELETE;
      create_full_put_path on;
      dav_access user:rw group:rw all:r;
      # An empty variable in add_header would take nginx's own ETag away from GET.
      if ($request_method = PUT) {{ add_header ETag "\\"nginx-put\\""; }}
      add_header x-amz-request-id $request_id;
    }}
  }}
}}
"""


def find_or_install() -> Found:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return Found(program, "" if program else "nginx is not installed: apt-get install nginx-light")


def start(folder: Path | None = None, bucket: str = "bench") -> Server:
    """Serves `folder`/data; the files below `folder`/data/`bucket` are the objects of `bucket`."""
    found = find_or_install()
    if found.program is None:
        raise RuntimeError(found.reason)
    program, folder = found.program, folder or temporary_folder("nginx")
    (folder / "data" / bucket).mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        folder.chmod(0o700)

    def command(port: int) -> list[str | Path]:
        configuration = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        configuration.write_text(CONFIGURATION.format(folder=folder, port=port, user=user))
        return [program, "-e", folder / "error.log", "-c", configuration]

    return start_http(
        "nginx", command, folder=folder, access_key="", secret_key="", probe="/__ready"
    )
