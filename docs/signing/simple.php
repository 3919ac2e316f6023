<?php
// Signs a request by the simple scheme, and prints the header.
// php simple.php METHOD URL [IDEMPOTENCY_KEY] < BODY, with PURSER_SIGNING_SECRET

function sign(string $secret, string $method, string $url, string $key = '', string $body = ''): string
{
    $u = parse_url($url);
    $host = strtolower($u['host']) . (isset($u['port']) ? ":{$u['port']}" : '');
    $t = (string) time();
    $n = bin2hex(random_bytes(16));
    $lines = [$t, $n, $method, $host, $u['path'] ?? '/', $u['query'] ?? '', $key, hash('sha256', $body)];
    return "t=$t,n=$n,v1=" . hash_hmac('sha256', implode("\n", $lines), $secret);
}

$value = sign(getenv('PURSER_SIGNING_SECRET'), $argv[1], $argv[2], $argv[3] ?? '', file_get_contents('php://stdin'));
echo "Purser-Signature: $value\n";
