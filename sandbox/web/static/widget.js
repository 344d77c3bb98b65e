// A widget: its content, and what its cwdb-action elements do.

import { closePopup, confirmed, opened, popupContent, popupIsOpen } from "./dialogs.js";
import { harmless, problem } from "./html.js";

const NO_VALUE = ["submit", "button", "image", "reset", "file"];
const PRESSABLE = "button, input, select, textarea, summary, a[href]"; // by keyboard too
const sheet = new CSSStyleSheet();
const styled = fetch("/static/widget.css").then((answer) => answer.text()).then((text) => sheet.replace(text));
const popupRoot = popupContent.attachShadow({ mode: "open" });

popupRoot.addEventListener("submit", (event) => event.preventDefault());

async function ask(path, body) {
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    return await answer.json();
  } catch {
    return { error: "The page's server doesn't answer. Is the sandbox still running?" };
  }
}

// The fields in which somebody may have written something.
function named(root) {
  return [...root.querySelectorAll("input[name], textarea[name], select[name]")];
}

// What can be scrolled can have the focus, so that it can be scrolled by keyboard.
function fit(content) {
  const { clientHeight, clientWidth, scrollHeight, scrollWidth } = content;
  content.tabIndex = scrollHeight > clientHeight || scrollWidth > clientWidth ? 0 : -1;
}

export class Widget {
  constructor(section, dashboard, seconds) {
    this.section = section;
    this.dashboard = dashboard;
    this.seconds = seconds;
    this.content = section.querySelector(".content");
    this.root = this.content.attachShadow({ mode: "open" });
    this.root.addEventListener("submit", (event) => event.preventDefault()); // as Enter in a field would
    this.root.append(document.createElement("slot")); // shows what the page holds until the first answer
    this.asked = 0; // how many answers were asked for
    this.running = 0; // actions
    this.outdated = false;
  }

  updatesOn(what) {
    return this.section.hasAttribute(`data-on-${what}`);
  }

  // Whether somebody is at work here, so that new content would be in the way.
  get inUse() {
    return this.running > 0 || popupIsOpen() || (this.root.activeElement !== null && named(this.root).length > 0);
  }

  // Ask for the content anew. Of several answers on their way only the last one asked for counts.
  async load() {
    const number = ++this.asked;
    this.outdated = false;
    this.section.setAttribute("aria-busy", "true");
    const answer = await ask("/widget", this.question({}));
    await styled;
    if (number !== this.asked) return;
    const typed = new Map(named(this.root).map((field) => [field.name, [field.value, field.checked]]));
    const writing = this.root.activeElement?.name;
    this.show(answer, this.root);
    for (const field of named(this.root)) {
      if (typed.has(field.name)) [field.value, field.checked] = typed.get(field.name);
      if (writing && field.name === writing) field.focus();
    }
    this.section.setAttribute("aria-busy", "false");
  }

  question(forms) {
    const view = {
      theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
      width: this.content.clientWidth,
      height: this.content.clientHeight,
      seconds: this.seconds(),
      forms,
    };
    return { dashboard: this.dashboard, widget: Number(this.section.dataset.number), view };
  }

  // Put an answer in the place of what is there. An error stands above it instead, so that nothing typed is lost.
  show(answer, root) {
    for (const old of [...root.children].filter((one) => one.matches("slot, .problem[role=alert]"))) old.remove();
    if (answer.error !== undefined) {
      root.adoptedStyleSheets = [sheet];
      root.prepend(problem(answer.error));
    } else {
      const held = root.activeElement !== null;
      const fragment = harmless(answer.html);
      root.adoptedStyleSheets = fragment.querySelector(".cwdb-no-default-styles") ? [] : [sheet];
      root.replaceChildren(fragment);
      for (const element of root.querySelectorAll("cwdb-action")) {
        if (root.contains(element)) this.bind(element); // else it lay in another's content
      }
      if (held) root.host.focus();
    }
    fit(root.host);
  }

  // Make a cwdb-action work on the element right before it, by keyboard too.
  bind(element) {
    const target = element.previousElementSibling;
    const given = (name, fallback) => element.getAttribute(name) || fallback;
    const action = {
      calls: given("action", "html") === "call",
      confirmation: given("confirmation", ""),
      popup: given("display", "widget") === "popup",
      endpoint: given("endpoint", ""),
      event: given("event", "click"),
      content: given("action", "html") === "call" ? element.textContent : element.innerHTML,
    };
    element.remove();
    if (!target || !["click", "dblclick", "mouseenter"].includes(action.event)) return;
    if (action.event === "mouseenter" && action.calls) return; // CloudWatch wants html for it
    const act = (event) => {
      event.preventDefault();
      this.act(action, target);
    };
    target.addEventListener(action.event, act);
    const pressable = target.matches(PRESSABLE);
    if (pressable && action.event === "click") return;
    if (!pressable) Object.assign(target, { role: "button", tabIndex: 0 });
    target.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") act(event);
    });
  }

  async act(action, target) {
    if (target.getAttribute("aria-disabled") === "true") return;
    target.setAttribute("aria-disabled", "true");
    this.running += 1;
    const inPopup = popupRoot.contains(target);
    let answer;
    try {
      if (action.confirmation && !(await confirmed(action.confirmation))) return;
      answer = action.calls ? await this.call(action) : { html: action.content };
    } finally {
      target.removeAttribute("aria-disabled");
      this.running -= 1;
    }
    if (!action.popup) {
      if (inPopup) closePopup();
      this.asked += 1; // whatever is still being loaded is older
      this.section.setAttribute("aria-busy", "false");
      this.show(answer, this.root);
      return;
    }
    this.outdated ||= action.calls;
    popupRoot.replaceChildren();
    this.show(answer, popupRoot);
    if (inPopup) return;
    const closed = opened(this.section.getAttribute("aria-label"));
    fit(popupContent);
    await closed;
    if (this.outdated) await this.load();
  }

  async call(action) {
    let params;
    try {
      params = JSON.parse(action.content.trim() || "{}");
    } catch {
      return { error: "The widget asks for a call whose parameters aren't JSON." };
    }
    const question = this.question(this.forms());
    return ask("/call", { ...question, endpoint: action.endpoint, params });
  }

  // What stands in the form fields of this widget, and of its popup, by their names.
  forms() {
    const found = {};
    const roots = popupIsOpen() ? [this.root, popupRoot] : [this.root];
    for (const field of roots.flatMap((root) => [...root.querySelectorAll("input, select, textarea")])) {
      const unticked = ["checkbox", "radio"].includes(field.type) && !field.checked;
      if (field.name && !unticked && !NO_VALUE.includes(field.type)) found[field.name] = field.value;
    }
    return found;
  }
}
