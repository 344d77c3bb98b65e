// HTML that a function has answered, made harmless, as CloudWatch does it: no scripts, and nothing that loads or sends
// anything. The page's Content-Security-Policy would stop what slips through.

const GONE = "script, noscript, iframe, frame, frameset, object, embed, link, meta, base, template, animate, set, dialog";
const GONE_TOO = ["srcset", "formaction", "background", "poster", "ping"]; // attributes
const ALLOWED = { href: ["http:", "https:", "mailto:"], "xlink:href": [], src: ["data:"] }; // or a place in the page

// Called so, since a form's own properties may be hidden by fields of the same names.
const { getAttribute, getAttributeNames, matches, removeAttribute } = Element.prototype;

// The HTML as a fragment that can be put on the page.
export function harmless(html) {
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  for (const element of parsed.content.querySelectorAll(GONE)) element.remove();
  for (const element of parsed.content.querySelectorAll("*")) {
    for (const name of getAttributeNames.call(element)) {
      if (!isHarmless(name, getAttribute.call(element, name))) removeAttribute.call(element, name);
    }
    if (matches.call(element, "form")) removeAttribute.call(element, "action");
    if (matches.call(element, "a[href]:not([href^='#'])")) {
      element.target = "_blank";
      element.rel = "noopener noreferrer";
    }
  }
  return document.importNode(parsed.content, true);
}

function isHarmless(name, value) {
  if (name.startsWith("on") || GONE_TOO.includes(name)) return false;
  if (!(name in ALLOWED) || value.startsWith("#")) return true;
  return URL.canParse(value, location.href) && ALLOWED[name].includes(new URL(value, location.href).protocol);
}

// A box that says what went wrong.
export function problem(text) {
  const box = document.createElement("p");
  box.className = "problem";
  box.setAttribute("role", "alert");
  box.textContent = text;
  return box;
}
