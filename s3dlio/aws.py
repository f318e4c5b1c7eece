"""What AWS's own variables and files say where the options of an S3 store are silent.

Precedence, as in AWS's tools: the option, the variable, the profile, the default. The rules are
those of https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html and
https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html. Credentials are the core's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from s3dlio.options import HttpOptions, S3Options

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_REGION = "us-east-1"


def resolve(s3: S3Options, http: HttpOptions, environment: Mapping[str, str]) -> dict[str, object]:
    """Return endpoint, region, addressing and ca_bundle for a store with these options.

    `environment` is what `environment_snapshot` returned: nothing else of the process is read.

    Raises:
        ValueError: the chosen profile does not exist, or a file or variable holds nonsense.
    """
    profile, service = _profile(s3, environment)
    endpoint = s3.endpoint
    if endpoint is None and not _ignores_endpoints(environment, profile):
        endpoint = (
            environment.get("AWS_ENDPOINT_URL_S3")
            or environment.get("AWS_ENDPOINT_URL")
            or service.get("endpoint_url")
            or profile.get("endpoint_url")
        )
    region = (
        s3.region
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or profile.get("region")
        or DEFAULT_REGION
    )
    style = s3.addressing or _nested(profile.get("s3", "")).get("addressing_style") or "auto"
    ca_bundle = http.ca_bundle
    if ca_bundle is None and http.verify_tls:
        ca_bundle = environment.get("AWS_CA_BUNDLE") or profile.get("ca_bundle")
    try:
        # The constructors know what is possible.
        checked = S3Options(endpoint=endpoint or None, region=region, addressing=style)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"from the environment or the AWS profile: {error}") from None
    return {
        "endpoint": checked.endpoint,
        "region": checked.region,
        "addressing": checked.addressing,
        "ca_bundle": ca_bundle or None,
    }


def _profile(
    s3: S3Options, environment: Mapping[str, str]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the section of the chosen profile, and its own section for the service S3."""
    name = s3.profile or environment.get("AWS_PROFILE") or "default"
    home = environment.get("HOME", "")
    config_path = environment.get("AWS_CONFIG_FILE") or os.path.join(home, ".aws", "config")
    secret_path = environment.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.join(
        home, ".aws", "credentials"
    )
    config = _sections(_expanded(config_path, home))
    section = config.get(f"profile {name}")
    if section is None and name == "default":
        section = config.get("default")
    chosen = s3.profile is not None or (
        environment.get("AWS_PROFILE") and not (s3.anonymous or s3.access_key_id or s3.credentials)
    )
    if section is None and chosen and name not in _sections(_expanded(secret_path, home)):
        origin = "`profile`" if s3.profile is not None else "AWS_PROFILE"
        raise ValueError(f"{origin} is {name!r}, found in neither {config_path} nor {secret_path}")
    section = section or {}
    services = config.get(f"services {section.get('services', '')}", {})
    return section, _nested(services.get("s3", ""))


def _ignores_endpoints(environment: Mapping[str, str], profile: Mapping[str, str]) -> bool:
    said = environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or profile.get(
        "ignore_configured_endpoint_urls", ""
    )
    return said.lower() == "true"


def _expanded(path: str, home: str) -> str:
    return home + path[1:] if path.startswith("~/") else path


def _sections(path: str) -> dict[str, dict[str, str]]:
    """Return the sections of the file at `path`; none where there is no file."""
    import configparser  # noqa: PLC0415 - costs a tenth of the import of s3dlio, and few need it

    parser = configparser.RawConfigParser(default_section="", strict=False, delimiters=("=",))
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (configparser.Error, UnicodeDecodeError):
        # The parser's own text quotes lines, which may hold secrets.
        raise ValueError(f"{path} is no valid AWS configuration file") from None
    return {" ".join(name.split()): dict(parser[name]) for name in parser.sections()}


def _nested(text: str) -> dict[str, str]:
    """Return the indented `name = value` lines that AWS allows as the value of a setting."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
