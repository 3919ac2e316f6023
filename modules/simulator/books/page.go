package books

import (
	"html/template"
	"net/http"
)

// PageText is what a page for the payer says.
type PageText struct {
	Title, Lead, Amount, Note string
	Approve, Refuse           string
	Closed                    bool // nothing is left to decide
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} – payment simulator</title>
<style>
body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
button{font:inherit;padding:.6rem 1.4rem;margin:0 1rem 1rem 0;border-radius:.4rem;border:2px solid #1a4d8f;cursor:pointer}
button[value=succeed]{background:#1a4d8f;color:#fff}button[value=fail]{background:#fff;color:#1a4d8f}
.note{border-left:.3rem solid #b35900;padding-left:.8rem}
</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Lead}}</p>
{{with .Amount}}<p><strong>{{.}}</strong></p>{{end}}
{{with .Note}}<p>{{.}}</p>{{end}}
{{if .Closed}}<p role="status">Nothing is left to decide here.</p>{{else}}<form method="post">
<button type="submit" name="result" value="succeed">{{.Approve}}</button>
<button type="submit" name="result" value="fail">{{.Refuse}}</button>
</form>{{end}}
<p class="note">This is a simulator: no money moves.</p>
</main>
</body>
</html>
`))

// Page shows p to a payer. It needs nothing from elsewhere, and runs no script.
func (b *Books) Page(w http.ResponseWriter, p PageText) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	_ = page.Execute(w, p) // the client may have left
}
