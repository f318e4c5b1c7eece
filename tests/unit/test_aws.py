"""What AWS's variables and files say where options are silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3dlio.aws import resolve
from s3dlio.options import HttpOptions, S3Options

CONFIG = """
[default]
region = eu-west-1

[profile dev]
region = eu-central-1
ca_bundle = /dev.pem
endpoint_url = http://everything:1
services = local
s3 =
  addressing_style = path

[profile quiet]
endpoint_url = http://everything:1
ignore_configured_endpoint_urls = true

[services local]
s3 =
  endpoint_url = http://s3:2/
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(CONFIG, encoding="utf-8")
    return {"HOME": str(tmp_path)}


def test_without_anything_it_is_aws_in_its_first_region() -> None:
    assert resolve(S3Options(), HttpOptions(), {}) == {
        "endpoint": None,
        "region": "us-east-1",
        "addressing": "auto",
        "ca_bundle": None,
    }


def test_the_profile_fills_what_nothing_else_says(home: dict[str, str]) -> None:
    assert resolve(S3Options(), HttpOptions(), home)["region"] == "eu-west-1"
    assert resolve(S3Options(profile="dev"), HttpOptions(), home) == {
        "endpoint": "http://s3:2",
        "region": "eu-central-1",
        "addressing": "path",
        "ca_bundle": "/dev.pem",
    }
    named = home | {"AWS_PROFILE": "dev"}
    assert resolve(S3Options(), HttpOptions(), named)["region"] == "eu-central-1"


def test_variables_go_before_the_profile_and_options_before_both(home: dict[str, str]) -> None:
    environment = home | {
        "AWS_PROFILE": "dev",
        "AWS_ENDPOINT_URL": "http://any:3",
        "AWS_ENDPOINT_URL_S3": "http://own:4",
        "AWS_DEFAULT_REGION": "r-default",
        "AWS_REGION": "r-own",
        "AWS_CA_BUNDLE": "/env.pem",
    }
    found = resolve(S3Options(), HttpOptions(), environment)
    assert found["endpoint"] == "http://own:4"
    assert found["region"] == "r-own"
    assert found["ca_bundle"] == "/env.pem"
    del environment["AWS_ENDPOINT_URL_S3"], environment["AWS_REGION"]
    found = resolve(S3Options(), HttpOptions(), environment)
    assert (found["endpoint"], found["region"]) == ("http://any:3", "r-default")
    own = S3Options(endpoint="http://option:5", region="r-option", addressing="virtual")
    assert resolve(own, HttpOptions(ca_bundle="/option.pem"), environment) == {
        "endpoint": "http://option:5",
        "region": "r-option",
        "addressing": "virtual",
        "ca_bundle": "/option.pem",
    }


def test_configured_endpoints_can_be_ignored(home: dict[str, str]) -> None:
    ignoring = {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "AWS_ENDPOINT_URL": "http://a:1"}
    assert resolve(S3Options(), HttpOptions(), ignoring)["endpoint"] is None
    assert resolve(S3Options(profile="quiet"), HttpOptions(), home)["endpoint"] is None
    own = S3Options(endpoint="http://b:2")
    assert resolve(own, HttpOptions(), ignoring)["endpoint"] == "http://b:2"


def test_a_profile_that_is_nowhere_is_refused(home: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="`profile` is 'typo'"):
        resolve(S3Options(profile="typo"), HttpOptions(), home)
    with pytest.raises(ValueError, match="AWS_PROFILE is 'typo'"):
        resolve(S3Options(), HttpOptions(), home | {"AWS_PROFILE": "typo"})
    secret = Path(home["HOME"], ".aws", "credentials")
    secret.write_text("[typo]\naws_access_key_id = a\n", encoding="utf-8")
    assert resolve(S3Options(profile="typo"), HttpOptions(), home)["region"] == "us-east-1"


def test_a_broken_file_is_named_and_not_quoted(home: dict[str, str]) -> None:
    Path(home["HOME"], ".aws", "config").write_text("secret without a section", encoding="utf-8")
    with pytest.raises(ValueError, match="config is no valid AWS configuration file") as caught:
        resolve(S3Options(), HttpOptions(), home)
    assert "secret" not in str(caught.value)


def test_a_wrong_variable_is_refused() -> None:
    with pytest.raises(ValueError, match=r"environment.*`endpoint` must be like http:"):
        resolve(S3Options(), HttpOptions(), {"AWS_ENDPOINT_URL": "localhost:9000"})
