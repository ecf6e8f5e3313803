"""The page at `/docs`: models and their API, without anything from another site.

The page itself is public and contains no model. Its script reads the OpenAPI documents with the key
that the visitor enters, and shows only what that key may see. The key stays in the page.
"""

import base64
import hashlib

from berth_protocol.asgi import RawHeaders
from berth_protocol.catalog_paths import OPENAPI_SUFFIX
from berth_protocol.headers import API_KEY
from berth_protocol.paths import MODELS

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
pre,textarea{background:#f4f4f6;padding:.8rem;border-radius:6px;overflow:auto;width:100%;
box-sizing:border-box;border:0;font:13px/1.4 ui-monospace,monospace}
textarea{min-height:8rem}.m{display:inline-block;min-width:3.5rem;font-weight:600}
button,input{padding:.4rem .8rem;font:inherit}
@media(prefers-color-scheme:dark){body{background:#16161a;color:#ddd}
pre,textarea,input{background:#242429;color:#ddd}}
"""
_SCRIPT = """
const main = document.querySelector("main");
const add = (parent, name, text) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
};
const key = () => document.getElementById("key").value;
const send = (path, options = {}) =>
  fetch(path, {...options, headers: {"KEY_HEADER": key()}, credentials: "omit"});
const showModel = async (model) => {
  const section = add(main, "section");
  add(section, "h2", model);
  const response = await send(`MODELS/${model}OPENAPI_SUFFIX`);
  const api = await response.json();
  if (!response.ok) { add(section, "p", api.error); return; }
  add(section, "p", api.info.description);
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const line = add(section, "p");
      add(line, "span", method.toUpperCase()).className = "m";
      add(line, "code", path);
      add(line, "span", ` ${operation.summary || ""}`);
    }
  }
  const path = `MODELS/${model}/infer`;
  const content = api.paths[path]?.post?.requestBody?.content?.["application/json"];
  const request = add(section, "textarea");
  request.setAttribute("aria-label", `Request to ${model}`);
  request.value = JSON.stringify(content?.example ?? {inputs: []}, null, 1);
  const button = add(section, "button", `Send to ${path}`);
  const output = add(section, "pre");
  button.addEventListener("click", async () => {
    output.textContent = "…";
    try {
      const answer = await send(path, {method: "POST", body: request.value});
      const version = answer.headers.get("x-berth-version");
      output.textContent = `${answer.status} ${version ? `version ${version}` : ""}\\n` +
        await answer.text();
    } catch (error) { output.textContent = String(error); }
  });
};
document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  main.replaceChildren();
  try {
    const response = await send("MODELS");
    const answer = await response.json();
    if (!response.ok) { add(main, "p", answer.error); return; }
    if (!answer.models.length) add(main, "p", "This key may call no model.");
    for (const model of answer.models) await showModel(model);
  } catch (error) { add(main, "p", String(error)); }
});
""".replace("KEY_HEADER", API_KEY).replace("OPENAPI_SUFFIX", OPENAPI_SUFFIX)
_SCRIPT = _SCRIPT.replace("MODELS", MODELS)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS: RawHeaders = [
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"connect-src 'self'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}".encode(),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
PAGE = f"""\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Berth: models</title><style>{_STYLE}</style></head>
<body><h1>Models</h1>
<form><label>API key <input id="key" type="password" autocomplete="off" required></label>
<button>Show models</button></form>
<main></main>
<script>{_SCRIPT}</script></body></html>
""".encode()
