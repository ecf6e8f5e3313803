"""The page at `/docs`: the OpenAPI document as HTML, without anything from the network."""

import base64
import hashlib
import html
import json
from typing import Any

from berth_protocol.asgi import RawHeaders
from berth_protocol.headers import TOKEN

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
pre,textarea{background:#f4f4f6;padding:.8rem;border-radius:6px;overflow:auto;width:100%;
box-sizing:border-box;border:0;font:13px/1.4 ui-monospace,monospace}
code{font-family:ui-monospace,monospace}h2{margin-top:2rem}
.m{display:inline-block;min-width:3.5rem;font-weight:600}
button{padding:.4rem 1rem}td{padding-right:1.5rem;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#16161a;color:#ddd}
pre,textarea{background:#242429;color:#ddd}a{color:#9bf}}
"""
_SCRIPT = """
document.getElementById("send").addEventListener("click", async () => {
  const output = document.getElementById("response");
  output.textContent = "…";
  try {
    const token = document.getElementById("token").value;
    const response = await fetch(document.getElementById("path").textContent, {
      method: "POST",
      headers: token ? {"TOKEN_HEADER": token} : {},
      body: document.getElementById("request").value,
    });
    let text = await response.text();
    try { text = JSON.stringify(JSON.parse(text), null, 2); } catch {}
    output.textContent = response.status + "\\n" + text;
  } catch (error) { output.textContent = String(error); }
});
""".replace("TOKEN_HEADER", TOKEN)


def _source_hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


HEADERS: RawHeaders = [
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        f"default-src 'none'; connect-src 'self'; style-src {_source_hash(_STYLE)}; "
        f"script-src {_source_hash(_SCRIPT)}; frame-ancestors 'none'".encode(),
    ),
    (b"x-content-type-options", b"nosniff"),
]
"""The page's headers. Its policy allows only the page's own style and script."""


def render(document: dict[str, Any]) -> bytes:
    """Return the whole page for an OpenAPI document."""
    info = document["info"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    infer = next(path for path, method, _ in operations if method == "post")
    body = document["paths"][infer]["post"]["requestBody"]
    example = json.dumps(body["content"]["application/json"]["example"], indent=1)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{_escape(info["title"])}</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>
<h1>{_escape(info["title"])}</h1><p>{_escape(info["description"])}</p>
<p>Open Inference Protocol v2 · <a href="/openapi.json">openapi.json</a></p>
<h2>Send a request</h2>
<p><span class="m">POST</span> <code id="path">{_escape(infer)}</code></p>
<textarea id="request" rows="14" spellcheck="false">{_escape(example)}</textarea>
<p><label>{TOKEN} <input id="token" type="password" autocomplete="off"></label>
<button id="send">Send</button></p><pre id="response"></pre>
<h2>Paths</h2>
{"".join(_render_operation(*operation) for operation in operations)}
<h2>Schemas</h2>
<pre>{_escape(json.dumps(document["components"]["schemas"], indent=2))}</pre>
<script>{_SCRIPT}</script></html>
""".encode()


def _render_operation(path: str, method: str, operation: dict[str, Any]) -> str:
    responses = "".join(
        f"<tr><td>{_escape(status)}</td><td>{_escape(response['description'])}</td></tr>"
        for status, response in operation["responses"].items()
    )
    return (
        f'<p><span class="m">{_escape(method.upper())}</span> <code>{_escape(path)}</code><br>'
        f"{_escape(operation['summary'])}</p><table>{responses}</table>"
    )


def _escape(text: str) -> str:
    return html.escape(text)
