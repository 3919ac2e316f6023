# Signs a request by the simple scheme, and prints the header.
# python3 simple.py METHOD URL [IDEMPOTENCY_KEY] < BODY, with PURSER_SIGNING_SECRET
import hashlib, hmac, os, secrets, sys, time
from urllib.parse import urlsplit


def sign(secret, method, url, key="", body=b""):
    u = urlsplit(url)
    t, n = str(int(time.time())), secrets.token_urlsafe(16)
    digest = hashlib.sha256(body).hexdigest()
    lines = [t, n, method, u.netloc.lower(), u.path or "/", u.query, key, digest]
    v1 = hmac.digest(secret.encode(), "\n".join(lines).encode(), "sha256").hex()
    return f"t={t},n={n},v1={v1}"


body = sys.stdin.buffer.read()
print("Purser-Signature:", sign(os.environ["PURSER_SIGNING_SECRET"], *sys.argv[1:], body=body))
