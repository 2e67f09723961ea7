// Copies the theme of the Airflow page around this frame, and opens links marked data-outside in that page.
"use strict";

const TOKENS = [
  "bg", "bg-subtle", "bg-muted", "bg-warning", "fg", "fg-muted", "fg-info", "fg-error", "fg-warning", "border",
  "border-emphasized", "border-info", "brand-solid", "brand-contrast", "brand-focus-ring", "success-solid", "failed-solid",
  "running-solid", "deferred-solid", "queued-solid", "none-solid", "upstream_failed-solid", "awaiting_input-solid",
];
const root = document.documentElement;
const outer = window.parent !== window ? window.parent : null;

function followTheme() {
  const around = outer ? outer.document.documentElement : null;
  const stored = localStorage.getItem("theme") ?? "system";
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const theme = around?.classList.contains("dark") ? "dark"
    : around?.classList.contains("light") ? "light"
    : stored === "system" ? system : stored;
  root.classList.toggle("dark", theme === "dark");
  root.classList.toggle("light", theme !== "dark");
  if (!around) return;
  const theirs = outer.getComputedStyle(around);
  for (const token of TOKENS) {
    const value = theirs.getPropertyValue(`--chakra-colors-${token}`);
    if (value) root.style.setProperty(`--${token}`, value);
  }
}

followTheme();
if (outer) {
  new MutationObserver(followTheme).observe(outer.document.documentElement, { attributeFilter: ["class"] });
}
window.addEventListener("storage", followTheme);

// The sandboxed frame may not navigate the outer window. A click on a link in the outer window may.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-outside]");
  if (!link || !outer || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const theirs = outer.document.createElement("a");
  theirs.href = link.href;
  theirs.click();
});
