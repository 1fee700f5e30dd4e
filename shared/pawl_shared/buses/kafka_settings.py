"""How a Kafka cluster is reached: its brokers, and what they ask of those who connect.

Two makes of clients are told the same in their own words: librdkafka by `client_options`, Faust's by `tls_context` and
the fields themselves.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pawl_shared.errors import ConfigurationError

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
# Those that both makes of clients can do without further libraries; Kerberos and OAuth are not among them.
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

LOGIN = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password", "kafka_sasl_password_file")
TLS = (
    "kafka_ssl_ca_location",
    "kafka_ssl_certificate_location",
    "kafka_ssl_key_location",
    "kafka_ssl_key_password",
)


class KafkaSettings(BaseSettings):
    """Settings of everything that connects to Kafka, in the terms of Kafka's own clients."""

    model_config = SettingsConfigDict(env_prefix="PAWL_", env_ignore_empty=True, frozen=True, extra="ignore")

    kafka_bootstrap_servers: str = Field(default="127.0.0.1:9092", description="Kafka brokers, host:port[,host:port]")
    kafka_security_protocol: Protocol = Field(
        default="PLAINTEXT", description="how brokers are talked to: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Mechanism | None = Field(
        default=None, description="how to log in, with SASL_*: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str = Field(default="", description="who logs in")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="the password")
    kafka_sasl_password_file: Path | None = Field(
        default=None, description="file with the password, instead of that; its last line break does not count"
    )
    kafka_ssl_ca_location: Path | None = Field(
        default=None, description="PEM file of the authorities that brokers are checked by; none: this machine's own"
    )
    kafka_ssl_certificate_location: Path | None = Field(
        default=None, description="PEM file of the client's own certificate, where brokers ask for one"
    )
    kafka_ssl_key_location: Path | None = Field(default=None, description="PEM file of the key to that certificate")
    kafka_ssl_key_password: SecretStr | None = Field(default=None, description="what opens that key, if anything does")

    @model_validator(mode="after")
    def _consistent(self) -> KafkaSettings:
        protocol = self.kafka_security_protocol
        self._without(LOGIN, protocol.startswith("SASL_"), "SASL_PLAINTEXT or SASL_SSL")
        self._without(TLS, protocol.endswith("SSL"), "SSL or SASL_SSL")
        if protocol.startswith("SASL_"):
            if self.kafka_sasl_mechanism is None or not self.kafka_sasl_username:
                raise ValueError(f"{protocol} needs PAWL_KAFKA_SASL_MECHANISM and PAWL_KAFKA_SASL_USERNAME")
            if (self.kafka_sasl_password is None) is (self.kafka_sasl_password_file is None):
                raise ValueError(f"{protocol} needs one of PAWL_KAFKA_SASL_PASSWORD and PAWL_KAFKA_SASL_PASSWORD_FILE")
            if not self.password():
                raise ValueError("PAWL_KAFKA_SASL_PASSWORD: an empty password logs nobody in")
        if (self.kafka_ssl_certificate_location is None) is not (self.kafka_ssl_key_location is None):
            raise ValueError("PAWL_KAFKA_SSL_CERTIFICATE_LOCATION and PAWL_KAFKA_SSL_KEY_LOCATION belong together")
        self.tls_context()
        return self

    def _without(self, names: tuple[str, ...], allowed: bool, needed: str) -> None:
        for name in names:
            if not allowed and getattr(self, name):
                raise ValueError(f"PAWL_{name.upper()} needs PAWL_KAFKA_SECURITY_PROTOCOL to be {needed}")

    def password(self) -> str:
        """What logs in; empty: nothing does. Raises ValueError: its file cannot be read."""
        if self.kafka_sasl_password is not None:
            return self.kafka_sasl_password.get_secret_value()
        if self.kafka_sasl_password_file is None:
            return ""
        try:
            return self.kafka_sasl_password_file.read_text().removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"PAWL_KAFKA_SASL_PASSWORD_FILE cannot be read: {error}") from error

    def tls_context(self) -> ssl.SSLContext | None:
        """For clients that use Python's TLS; none: the protocol has no TLS.

        Raises:
            ValueError: a file is missing, is no PEM, or the key does not open or fit.
        """
        if not self.kafka_security_protocol.endswith("SSL"):
            return None
        authorities, certificate = self.kafka_ssl_ca_location, self.kafka_ssl_certificate_location
        try:
            context = ssl.create_default_context(cafile=authorities)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"PAWL_KAFKA_SSL_CA_LOCATION, {authorities}: {error}") from error
        # As librdkafka verifies: from Python 3.13 on, streams alone would refuse certificates without all that RFC 5280
        # asks for, as authorities of one's own often make them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if certificate is not None:
            # An empty password, since without one OpenSSL would ask for it at the terminal.
            secret = self.kafka_ssl_key_password
            password = secret.get_secret_value() if secret else ""
            try:
                context.load_cert_chain(certificate, self.kafka_ssl_key_location, password)
            except OSError as error:
                raise ValueError(
                    f"PAWL_KAFKA_SSL_CERTIFICATE_LOCATION, {certificate}, with the key "
                    f"{self.kafka_ssl_key_location}: {error}"
                ) from error
        return context

    def client_options(self) -> dict[str, str]:
        """For every client of librdkafka, under its names."""
        key_password = self.kafka_ssl_key_password
        options = {
            "bootstrap.servers": self.kafka_bootstrap_servers,
            "security.protocol": self.kafka_security_protocol,
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": self.password(),
            "ssl.ca.location": self.kafka_ssl_ca_location,
            "ssl.certificate.location": self.kafka_ssl_certificate_location,
            "ssl.key.location": self.kafka_ssl_key_location,
            "ssl.key.password": key_password.get_secret_value() if key_password else None,
        }
        return {name: str(value) for name, value in options.items() if value}


def problems(error: ValidationError) -> list[str]:
    """A line for each setting that is wrong; what two of them say together is never quoted, as it may be secret."""
    return [
        f"{_name(problem['loc'])}: {problem['msg']} (got {problem['input']!r})"
        if problem["loc"]
        else problem["msg"].removeprefix("Value error, ")
        for problem in error.errors(include_url=False)
    ]


def _name(place: tuple[int | str, ...]) -> str:
    return "PAWL_" + "_".join(str(part) for part in place).upper()


def of_environment(bootstrap_servers: str) -> KafkaSettings:
    """For commands, which are told the servers: what else the environment says.

    Raises:
        ConfigurationError: it says what cannot be.
    """
    try:
        return KafkaSettings(kafka_bootstrap_servers=bootstrap_servers)
    except ValidationError as error:
        raise ConfigurationError("; ".join(problems(error))) from error
