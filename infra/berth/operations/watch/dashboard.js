"use strict";

// Replaces each section that changed. The live region "health" changes only if a state changes, so
// that a screen reader does not speak at each update.
const INTERVAL_MS = 2000;
const TIMEOUT_MS = 10000;
const pause = document.getElementById("pause");
const connection = document.getElementById("connection");
const shown = new Map();
let isPaused = false;

function show(id, content) {
  const element = document.getElementById(id);
  if ((shown.get(id) ?? element.innerHTML) !== content) element.innerHTML = content;
  shown.set(id, content);
}

async function update() {
  try {
    const response = await fetch("/sections.json", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const sections = await response.json();
    if (isPaused) return;
    for (const [id, content] of Object.entries(sections)) show(id, content);
    if (connection.textContent) connection.textContent = "";
  } catch {
    const text = "The dashboard does not respond. Start 'berth dashboard' again.";
    if (connection.textContent !== text) connection.textContent = text;
  }
}

async function run() {
  if (!isPaused && !document.hidden) await update();
  setTimeout(run, INTERVAL_MS);
}

pause.hidden = false;
pause.setAttribute("aria-pressed", "false");
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
});
document.addEventListener("visibilitychange", () => {
  if (!isPaused && !document.hidden) update();
});
setTimeout(run, INTERVAL_MS);
