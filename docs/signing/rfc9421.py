# Signs a request by RFC 9421 with hmac-sha256, and prints the headers.
# python3 rfc9421.py METHOD URL [NAME:VALUE]... < BODY, with PURSER_SIGNING_SECRET and PURSER_KEYID
import base64, hashlib, hmac, os, secrets, sys, time

COVERED = ["authorization", "content-type", "content-digest", "idempotency-key", "dpop"]


def sign(secret, keyid, method, url, headers, body=b""):
    h = {name.lower(): value for name, value in headers.items()}
    if body:
        h["content-digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    parts = {"@method": method, "@target-uri": url} | {name: h[name] for name in COVERED if name in h}
    names = " ".join(f'"{name}"' for name in parts)
    params = f'({names});created={int(time.time())};nonce="{secrets.token_urlsafe(16)}";keyid="{keyid}"'
    base = "".join(f'"{name}": {value}\n' for name, value in parts.items()) + f'"@signature-params": {params}'
    mac = base64.b64encode(hmac.digest(secret.encode(), base.encode(), "sha256")).decode()
    return h | {"signature-input": f"sig1={params}", "signature": f"sig1=:{mac}:"}


headers = dict(a.split(":", 1) for a in sys.argv[3:])
signed = sign(os.environ["PURSER_SIGNING_SECRET"], os.environ["PURSER_KEYID"], sys.argv[1], sys.argv[2], headers, sys.stdin.buffer.read())
for name, value in signed.items():
    print(f"{name}: {value}")
