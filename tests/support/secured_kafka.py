"""A broker that also listens where one has to log in, over TLS or not, and the certificates that belong to it."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pawl_cli.running import ports
from pawl_cli.running.embedded_kafka import EmbeddedKafka

USER, PASSWORD = "pawl", "correct horse; battery staple"
SCRAM = "SCRAM-SHA-512"
# TLS: certificates of both sides; SASL_SSL: one of the broker alone.
LISTENERS = ("SASL_PLAINTEXT", "SASL_SSL", "SSL")


@dataclass(frozen=True)
class Secured:
    """Where it listens, by security protocol, and where the certificates lie."""

    servers: dict[str, str]
    authority: Path
    certificate: Path
    key: Path


class SecuredKafka(EmbeddedKafka):
    """The embedded broker with listeners beside its own; within the broker, nothing changes."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        super().__init__(folder)
        self._certificates = certificates
        self.servers: dict[str, str] = {}

    def _write_properties(self, controller_port: int) -> Path:
        file = super()._write_properties(controller_port)
        chosen = ports.choose(self.folder / "secured.json", dict.fromkeys(LISTENERS, 0))
        self.servers = {name: f"{ports.HOST}:{port}" for name, port in chosen.items()}
        more = ",".join(f"{name}://{server}" for name, server in self.servers.items())
        lines = [
            f"{line},{more}" if line.startswith(("listeners=", "advertised.listeners=")) else line
            for line in file.read_text().splitlines()
        ]
        login = "org.apache.kafka.common.security"
        lines += [
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            + ",".join(f"{name}:{name}" for name in LISTENERS),
            f"sasl.enabled.mechanisms=PLAIN,{SCRAM}",
            *(
                f"listener.name.{name}.{mechanism}.sasl.jaas.config={login}.{module} required{users};"
                for name in ("sasl_plaintext", "sasl_ssl")
                for mechanism, module, users in (
                    ("plain", "plain.PlainLoginModule", f' user_{USER}="{PASSWORD}"'),
                    (SCRAM.lower(), "scram.ScramLoginModule", ""),
                )
            ),
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={self._certificates / 'broker.pem'}",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={self._certificates / 'authority.pem'}",
            "listener.name.ssl.ssl.client.auth=required",
        ]
        file.write_text("\n".join(lines) + "\n")
        return file


@contextmanager
def secured_kafka(folder: Path) -> Iterator[Secured]:
    """A running one, whose user may log in by PLAIN and by SCRAM."""
    write_certificates(folder)
    broker = SecuredKafka(folder / "kafka", folder)
    with broker, AdminClient({"bootstrap.servers": broker.bootstrap_servers}) as admin:
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        user = UserScramCredentialUpsertion(USER, scram, PASSWORD.encode())
        for done in admin.alter_user_scram_credentials([user]).values():
            done.result(30)
        yield Secured(broker.servers, folder / "authority.pem", folder / "client.pem", folder / "client.key")


def write_certificates(folder: Path) -> None:
    """Of an authority (authority.pem), a broker (broker.pem, with its key) and a client (client.pem, client.key)."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", authority_key, authority_key)
    (folder / "authority.pem").write_bytes(_pem(authority))
    broker_key, client_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    broker = _certificate("broker", broker_key, authority_key)
    (folder / "broker.pem").write_bytes(_key(broker_key) + _pem(broker))
    (folder / "client.pem").write_bytes(_pem(_certificate("client", client_key, authority_key)))
    (folder / "client.key").write_bytes(_key(client_key))
    (folder / "client.key").chmod(stat.S_IRUSR | stat.S_IWUSR)


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.now(UTC)
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, of)]) for of in (name, "authority"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=name == "authority", path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ports.HOST))]), critical=False)
    )
    return builder.sign(signer, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
