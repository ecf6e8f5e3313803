"""`/docs`: the OpenAPI document as a page that needs nothing from the network."""

import base64
import hashlib
import html
import json
from typing import Any

from berth_serving.response import Headers

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
  const out = document.getElementById("answer");
  out.textContent = "…";
  try {
    const token = document.getElementById("token").value;
    const response = await fetch(document.getElementById("path").textContent, {
      method: "POST",
      headers: token ? {"x-berth-token": token} : {},
      body: document.getElementById("request").value,
    });
    const text = await response.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch {}
    out.textContent = response.status + "\\n" + shown;
  } catch (error) { out.textContent = String(error); }
});
"""


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


HEADERS: Headers = [
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        f"default-src 'none'; connect-src 'self'; style-src {_source(_STYLE)}; "
        f"script-src {_source(_SCRIPT)}; frame-ancestors 'none'".encode(),
    ),
    (b"x-content-type-options", b"nosniff"),
]


def page(document: dict[str, Any]) -> bytes:
    """The whole page, in one answer."""
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
<html lang="en"><meta charset="utf-8"><title>{_text(info["title"])}</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>
<h1>{_text(info["title"])}</h1><p>{_text(info["description"])}</p>
<p>Open Inference Protocol v2 · <a href="/openapi.json">openapi.json</a></p>
<h2>Try it</h2>
<p><span class="m">POST</span> <code id="path">{_text(infer)}</code></p>
<textarea id="request" rows="14" spellcheck="false">{_text(example)}</textarea>
<p><label>x-berth-token <input id="token" type="password" autocomplete="off"></label>
<button id="send">Send</button></p><pre id="answer"></pre>
<h2>Paths</h2>
{"".join(_operation(*operation) for operation in operations)}
<h2>Schemas</h2>
<pre>{_text(json.dumps(document["components"]["schemas"], indent=2))}</pre>
<script>{_SCRIPT}</script></html>
""".encode()


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    answers = "".join(
        f"<tr><td>{_text(status)}</td><td>{_text(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f'<p><span class="m">{_text(method.upper())}</span> <code>{_text(path)}</code><br>'
        f"{_text(operation['summary'])}</p><table>{answers}</table>"
    )


def _text(value: str) -> str:
    return html.escape(value)
