// Signs a request by the simple scheme, and prints the header.
// java Simple.java METHOD URL [IDEMPOTENCY_KEY] < BODY, with PURSER_SIGNING_SECRET
import static java.nio.charset.StandardCharsets.UTF_8;

import java.net.URI;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Objects;
import java.util.UUID;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

class Simple {
    static String sign(String secret, String method, URI url, String key, byte[] body) throws Exception {
        var t = Long.toString(System.currentTimeMillis() / 1000);
        var n = UUID.randomUUID().toString();
        var path = url.getRawPath().isEmpty() ? "/" : url.getRawPath();
        var query = Objects.requireNonNullElse(url.getRawQuery(), "");
        var digest = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body));
        var lines = String.join("\n", t, n, method, url.getRawAuthority().toLowerCase(Locale.ROOT), path, query, key, digest);
        var mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(secret.getBytes(UTF_8), "HmacSHA256"));
        return "t=" + t + ",n=" + n + ",v1=" + HexFormat.of().formatHex(mac.doFinal(lines.getBytes(UTF_8)));
    }

    public static void main(String[] args) throws Exception {
        var key = args.length > 2 ? args[2] : "";
        var value = sign(System.getenv("PURSER_SIGNING_SECRET"), args[0], URI.create(args[1]), key, System.in.readAllBytes());
        System.out.println("Purser-Signature: " + value);
    }
}
