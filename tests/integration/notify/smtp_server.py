"""A mail server for tests: prints its port, and then each sign-in and each mail as a line of JSON.

Arguments: plain, starttls or smtps, "mute" for a plain one that never answers QUIT, or "echo" for a starttls one that repeats a wrong password in plain text; a certificate with its key in PEM, or "-"; "USER:PASSWORD", or "-".
"""

import asyncio
import base64
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def tell(**line):
    print(json.dumps(line), flush=True)


def is_encrypted(server):
    return server.transport.get_extra_info("ssl_object") is not None


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return f"550 no mailbox {address}"
        if address.startswith("busy@"):
            return "\r\n".join(["451-later"] * 500 + ["451 later"])
        envelope.rcpt_tos.append(address)
        return "250 accepted"

    async def handle_DATA(self, server, session, envelope):
        tell(
            mail=envelope.content.decode("utf-8", "replace"),
            sender=envelope.mail_from,
            receivers=envelope.rcpt_tos,
            tls=is_encrypted(server),
        )
        return "250 accepted"


class MuteHandler(Handler):
    async def handle_QUIT(self, server, session, envelope):
        await asyncio.Event().wait()


async def main(mode, certificate, account):
    is_starttls = mode in ("starttls", "echo")
    context = None
    if certificate != "-":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    def authenticate(server, session, envelope, mechanism, data):
        user, password = data.login.decode(), data.password.decode()
        tell(user=user, password=password, tls=is_encrypted(server))
        if f"{user}:{password}" == account:
            return AuthResult(success=True)
        if mode == "echo":
            return AuthResult(success=False, handled=False, message=f"535 refused: {password}")
        sent = base64.b64encode(data.password).decode()
        refusal = f"535-refused: {password.split()[-1]}\r\n535-{sent[:10]}\r\n535 {sent[10:]}"
        return AuthResult(success=False, handled=False, message=refusal)

    def session():
        return SMTP(
            MuteHandler() if mode == "mute" else Handler(),
            hostname="localhost",
            tls_context=context if is_starttls else None,
            require_starttls=is_starttls,
            authenticator=authenticate if account != "-" else None,
            auth_required=account != "-",
            auth_require_tls=False,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=context if mode == "smtps" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
