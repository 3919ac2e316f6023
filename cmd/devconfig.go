package pursercmd

import (
	"encoding/json"
	"net"
)

// devAddresses are where a development gateway listens, and where it is reached.
type devAddresses struct {
	listen    string // host:port, as asked for
	url       string // https://host:port
	admin     string // host:port
	simulator string // http://host:port
}

type object = map[string]any

// devConfig is the configuration of Caddy: one site with the whole gateway, on
// the certificates of the folder.
func devConfig(d *devData, at devAddresses, verbose bool) ([]byte, error) {
	level := "WARN"
	if verbose {
		level = "INFO"
	}
	file := func(name string) string { return "{file." + d.path(name) + "}" }
	account := func(name string, connector object) object {
		connector["name"] = name
		return object{
			"mode": "test", "merchants": []string{"*"}, "base_url": at.simulator + "/" + name, "connector": connector,
		}
	}
	// Cards go to Stripe, and to Adyen where the merchant pins the account: so
	// what Stripe declines stays declined.
	adyen := account("adyen", object{
		"api_key": file(fileAdyenKey), "merchant_account": devAdyenAccount, "hmac_key": file(fileAdyenHMAC),
	})
	adyen["pinned_only"] = true
	return json.Marshal(object{
		"admin":   object{"listen": at.admin, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"level": level, "encoder": object{"format": "console", "level_format": "upper"}}}},
		"storage": object{"module": "file_system", "root": d.path(folderCaddy)},
		"apps": object{
			"payments": object{
				"root": d.dir, "store": object{"driver": "sqlite", "path": fileDatabase},
				"pepper": file(filePepper), "seal_key": file(fileSealKey),
				"webhooks": object{"allow": []string{"127.0.0.0/8", "::1/128"}, "allow_http": true}, // a developer's own receiver
				"accounts": object{
					"stripe": account("stripe", object{
						"secret_key": file(fileStripeKey), "webhook_secret": file(fileStripeWebhook),
					}),
					"adyen": adyen,
					"alipay": account("alipay", object{
						"app_id": devAlipayApp, "private_key": file(fileAlipayOwn), "alipay_public_key": file(fileAlipayPSPPub),
					}),
				},
			},
			"tls": object{
				"certificates": object{"load_files": []object{{
					"certificate": d.path("server.crt"), "key": d.path("server.key"),
				}}},
				// A session is resumed for a day at most (RFC 9325 §3.4).
				"session_tickets": object{"rotation_interval": "12h", "max_keys": 2},
			},
			"http": object{
				"grace_period": "1s",
				"servers":      object{"dev": devServer(at.listen)},
			},
		},
	})
}

// devServer serves HTTP/1.1 and HTTP/2 over TLS 1.2 with AEAD ciphers, or 1.3.
func devServer(listen string) object {
	host, _, _ := net.SplitHostPort(listen)
	return object{
		"listen":          []string{listen},
		"protocols":       []string{"h1", "h2"},
		"automatic_https": object{"disable": true},
		"routes":          []object{{"handle": []object{{"handler": "payments_gateway"}}}},
		"tls_connection_policies": []object{{
			"protocol_min": "tls1.2",
			"curves":       []string{"x25519mlkem768", "x25519", "secp256r1"},
			"cipher_suites": []string{
				"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
				"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
			},
			"default_sni": "localhost", "fallback_sni": host,
		}},
	}
}
