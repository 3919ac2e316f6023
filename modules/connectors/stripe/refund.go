package stripe

import (
	"errors"
	"fmt"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// wantRefund is what a refund in an answer must bear.
type wantRefund struct {
	reference string // ours
	id        string // Stripe's; "" where it is not known
	charge    string // the PaymentIntent
	amount    payment.Money
}

func decodeRefund(body []byte, want wantRefund) (connector.Result, error) {
	var re refund
	if err := parse(body, &re); err != nil {
		return connector.Result{}, err
	}
	return readWanted(&re, want)
}

// readWanted reads a refund and sees that it is the one in question.
func readWanted(re *refund, want wantRefund) (connector.Result, error) {
	r, err := readRefund(re)
	switch {
	case err != nil:
		return connector.Result{}, err
	case want.id != "" && re.ID != want.id:
		return connector.Result{}, errors.New("another refund than the one asked for")
	case ours(re.Metadata) != "" && ours(re.Metadata) != want.reference:
		return connector.Result{}, errors.New("a refund of another reference")
	case re.PaymentIntent != "" && string(re.PaymentIntent) != want.charge:
		return connector.Result{}, errors.New("a refund of another PaymentIntent")
	case r.Amount.Currency != want.amount.Currency:
		return connector.Result{}, errors.New("another currency than the one asked for")
	}
	return r, nil
}

// decodeRefunds looks for ours among the refunds of a charge.
func decodeRefunds(body []byte, want wantRefund) (connector.Result, error) {
	var list refundList
	if err := parse(body, &list); err != nil {
		return connector.Result{}, err
	}
	if list.Object != "list" || list.HasMore == nil {
		return connector.Result{}, errors.New("not a list")
	}
	for i := range list.Data {
		if ours(list.Data[i].Metadata) == want.reference {
			return readWanted(&list.Data[i], want)
		}
	}
	if *list.HasMore {
		return connector.Result{}, errors.New("more refunds than one page holds")
	}
	return connector.Result{State: connector.NotFound}, nil
}

// readRefund turns a refund into a result.
func readRefund(re *refund) (connector.Result, error) {
	if err := object(re.ID, re.Object, "refund"); err != nil {
		return connector.Result{}, err
	}
	amount, err := money(re.Amount, re.Currency)
	if err != nil {
		return connector.Result{}, err
	}
	r := connector.Result{PSPReference: re.ID, Amount: amount}
	switch re.Status {
	case "succeeded":
		r.State = connector.Succeeded
	case "pending", "requires_action":
		r.State = connector.Pending
	case "failed", "canceled":
		r.State = connector.Declined
		r.Failure = re.failure()
	default:
		return connector.Result{}, fmt.Errorf("status %.32q is unknown", re.Status)
	}
	return r, nil
}

// refundFailures maps failure_reason; the whole list of the API version in use.
var refundFailures = map[string]payment.FailureCode{
	"lost_or_stolen_card":                payment.InvalidAccount,
	"expired_or_canceled_card":           payment.InvalidAccount,
	"charge_for_pending_refund_disputed": payment.PSPRejectedRequest,
	"insufficient_funds":                 payment.InsufficientFunds, // our own balance at Stripe
	"declined":                           payment.CardDeclined,
	"merchant_request":                   payment.PSPRejectedRequest,
	"unknown":                            payment.ProcessingError,
}

func (re *refund) failure() *payment.Failure {
	code, known := refundFailures[re.FailureReason]
	if !known {
		code = payment.ProcessingError
	}
	pspCode := re.FailureReason
	if pspCode == "" {
		pspCode = re.Status
	}
	return payment.FailPSP(code, pspCode, "")
}
