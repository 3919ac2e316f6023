// Package standard links every Caddy module of the gateway: import it for its
// side effects, and the modules are there.
package standard

import (
	_ "github.com/purser-pay/purser/modules/connectors/adyen"  // payments.connectors.adyen
	_ "github.com/purser-pay/purser/modules/connectors/alipay" // payments.connectors.alipay
	_ "github.com/purser-pay/purser/modules/connectors/stripe" // payments.connectors.stripe
	_ "github.com/purser-pay/purser/modules/edge"              // http.handlers.payments_*
	_ "github.com/purser-pay/purser/modules/gateway"           // payments, admin.api.payments
)
