"""How a cluster is reached: what contradicts itself is refused in words, and no secret is ever quoted."""

import ssl
from pathlib import Path
from typing import Any

import faust
import pytest
from pydantic import ValidationError
from support.secured_kafka import write_certificates

from pawl_shared.buses import kafka_settings
from pawl_shared.buses.kafka_settings import KafkaSettings, problems
from pawl_shared.errors import ConfigurationError
from pawl_streams.app import credentials

SECRET = "hunter2"
LOGIN = {"kafka_sasl_mechanism": "PLAIN", "kafka_sasl_username": "pawl", "kafka_sasl_password": SECRET}


def made(protocol: str, **given: Any) -> KafkaSettings:
    return KafkaSettings.model_validate({"kafka_security_protocol": protocol} | given)


@pytest.mark.parametrize(
    ("protocol", "given", "said"),
    [
        ("PLAINTEXT", LOGIN, "PAWL_KAFKA_SASL_MECHANISM needs PAWL_KAFKA_SECURITY_PROTOCOL to be SASL_PLAINTEXT or"),
        ("SSL", LOGIN, "PAWL_KAFKA_SASL_MECHANISM needs PAWL_KAFKA_SECURITY_PROTOCOL to be SASL_PLAINTEXT or"),
        ("PLAINTEXT", {"kafka_ssl_ca_location": "/ca.pem"}, "PAWL_KAFKA_SSL_CA_LOCATION needs"),
        ("SASL_PLAINTEXT", {}, "needs PAWL_KAFKA_SASL_MECHANISM and PAWL_KAFKA_SASL_USERNAME"),
        ("SASL_SSL", LOGIN | {"kafka_sasl_password": None}, "needs one of PAWL_KAFKA_SASL_PASSWORD and"),
        ("SASL_SSL", LOGIN | {"kafka_sasl_password_file": "/p"}, "needs one of PAWL_KAFKA_SASL_PASSWORD and"),
        ("SASL_SSL", LOGIN | {"kafka_sasl_password": ""}, "an empty password"),
        (
            "SASL_PLAINTEXT",
            LOGIN | {"kafka_sasl_password": None, "kafka_sasl_password_file": "/not/there"},
            "PAWL_KAFKA_SASL_PASSWORD_FILE cannot be read",
        ),
        ("SSL", {"kafka_ssl_certificate_location": "/client.pem"}, "belong together"),
        ("SSL", {"kafka_ssl_ca_location": "/not/there"}, "PAWL_KAFKA_SSL_CA_LOCATION, /not/there: "),
        ("SSL", {"kafka_ssl_ca_location": __file__}, "PAWL_KAFKA_SSL_CA_LOCATION, "),
        (
            "SSL",
            {"kafka_ssl_certificate_location": __file__, "kafka_ssl_key_location": __file__},
            "PAWL_KAFKA_SSL_CERTIFICATE_LOCATION, ",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(protocol: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        made(protocol, **given)
    [line] = problems(refused.value)
    assert said in line
    assert SECRET not in line


def test_a_single_wrong_value_is_named_and_quoted() -> None:
    with pytest.raises(ValidationError) as refused:
        made("SASL")
    [line] = problems(refused.value)
    assert line.startswith("PAWL_KAFKA_SECURITY_PROTOCOL: ")
    assert line.endswith("(got 'SASL')")


def test_commands_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    with pytest.raises(ConfigurationError, match="PAWL_KAFKA_SASL_MECHANISM"):
        kafka_settings.of_environment("broker:9092")
    for name, value in LOGIN.items():
        monkeypatch.setenv(f"PAWL_{name.upper()}", value)
    found = kafka_settings.of_environment("broker:9092")
    assert found.client_options() == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "pawl",
        "sasl.password": SECRET,
    }
    assert SECRET not in repr(found)


def test_a_password_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f" {SECRET} \n")
    given = LOGIN | {"kafka_sasl_password": None, "kafka_sasl_password_file": tmp_path / "password"}
    assert made("SASL_PLAINTEXT", **given).password() == f" {SECRET} "


def test_faust_is_told_the_same(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    assert credentials(made("PLAINTEXT")) is None
    login = credentials(made("SASL_PLAINTEXT", **LOGIN | {"kafka_sasl_mechanism": "SCRAM-SHA-256"}))
    assert isinstance(login, faust.SASLCredentials)
    assert (login.protocol.value, login.mechanism.value) == ("SASL_PLAINTEXT", "SCRAM-SHA-256")
    assert (login.username, login.password, login.ssl_context) == ("pawl", SECRET, None)
    both = credentials(made("SASL_SSL", kafka_ssl_ca_location=tmp_path / "authority.pem", **LOGIN))
    assert both.protocol.value == "SASL_SSL"
    assert len(both.ssl_context.get_ca_certs()) == 1
    assert not both.ssl_context.verify_flags & ssl.VERIFY_X509_STRICT, "Python 3.13's default, not librdkafka's"
    files = {"certificate": "client.pem", "key": "client.key"}
    tls = credentials(made("SSL", **{f"kafka_ssl_{of}_location": tmp_path / file for of, file in files.items()}))
    assert isinstance(tls, faust.SSLCredentials)
