/* What makes the result page quick: suggestions, frames of videos, pictures in large, the same result found in both
 * orders, grades without loading the page anew. Without it everything works as plain links and forms.
 *
 * Nothing here writes HTML out of data: texts are set as text.
 */
"use strict";

(() => {
  const TYPING_MS = 120;
  const FRAME_MS = 650;
  const pick = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  function element(name, words, className) {
    const made = document.createElement(name);
    if (words) made.textContent = words;
    if (className) made.className = className;
    return made;
  }

  let fading = 0;
  function say(words) {
    const box = document.getElementById("says");
    clearTimeout(fading);
    box.textContent = words;
    box.hidden = !words;
    fading = setTimeout(() => { box.hidden = true; }, 3200);
  }

  // ------------------------------------------------------------------ suggestions
  for (const input of all("[data-suggest]")) {
    const list = document.getElementById(`${input.id}-suggested`);
    let waiting = 0;
    let asked = 0;
    let chosen = -1;
    const typed = () => input.value;
    let own = typed(); // what somebody typed, not what the arrow keys put there
    for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id })) input.setAttribute(name, value);

    const close = () => { list.hidden = true; chosen = -1; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };

    function mark(text, sought) {
      const at = sought ? text.toLowerCase().indexOf(sought.toLowerCase()) : -1;
      if (at < 0) return [text];
      return [text.slice(0, at), element("b", text.slice(at, at + sought.length)), text.slice(at + sought.length)];
    }

    function show(found, sought) {
      list.replaceChildren(...found.map((one, index) => {
        const made = element("li");
        made.id = `${list.id}-${index}`;
        made.dir = "auto";
        made.setAttribute("role", "option");
        made.dataset.url = one.url;
        made.dataset.text = one.text;
        made.append(...mark(one.text, sought));
        return made;
      }));
      chosen = -1;
      list.hidden = !found.length;
      input.setAttribute("aria-expanded", String(found.length > 0));
      input.removeAttribute("aria-activedescendant");
    }

    async function suggest() {
      const mine = ++asked;
      const fields = new URLSearchParams(new FormData(input.form));
      try {
        const answer = await fetch(`${input.dataset.suggest}?${fields}`, { headers: { Accept: "application/json" } });
        if (!answer.ok) return;
        const found = await answer.json();
        if (mine === asked && document.activeElement === input) show(found, typed().trim());
      } catch (problem) {
        close(); // the box works without suggestions
      }
    }

    function choose(step) {
      const lines = all("li", list);
      if (!lines.length) return;
      chosen = (chosen + step + lines.length + 1 + 1) % (lines.length + 1) - 1;
      for (const [index, line] of lines.entries()) line.setAttribute("aria-selected", String(index === chosen));
      input.value = chosen < 0 ? own : lines[chosen].dataset.text;
      if (chosen < 0) input.removeAttribute("aria-activedescendant");
      else { input.setAttribute("aria-activedescendant", lines[chosen].id); lines[chosen].scrollIntoView({ block: "nearest" }); }
    }

    input.addEventListener("input", () => { own = typed(); clearTimeout(waiting); waiting = setTimeout(suggest, TYPING_MS); });
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (list.hidden) suggest(); else choose(event.key === "ArrowDown" ? 1 : -1);
      } else if (event.key === "Escape" && !list.hidden) { event.preventDefault(); input.value = own; close(); }
      else if (event.key === "Enter" && chosen >= 0) { event.preventDefault(); location.assign(all("li", list)[chosen].dataset.url); }
    });
    list.addEventListener("pointerdown", (event) => event.preventDefault()); // the box keeps the focus
    list.addEventListener("click", (event) => { const line = event.target.closest("li"); if (line) location.assign(line.dataset.url); });
    input.addEventListener("blur", close);
    input.form.addEventListener("submit", (event) => { if (!typed().trim()) event.preventDefault(); });
  }

  // ------------------------------------------------------------------ frames of videos
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  function turn(film, frame) {
    const stage = pick(".stage", film);
    for (const one of all("[data-frame]", film)) one.classList.toggle("now", one === frame);
    stage.href = frame.href;
    pick("img", stage).src = pick("img", frame).getAttribute("src");
    pick("img", stage).alt = pick("img", frame).alt;
  }

  function play(film, button) {
    const frames = all("[data-frame]", film);
    const next = () => turn(film, frames[(frames.findIndex((one) => one.matches(".now")) + 1) % frames.length]);
    if (film.turning) { clearInterval(film.turning); film.turning = 0; } else if (calm.matches) next(); else { next(); film.turning = setInterval(next, FRAME_MS); }
    button.setAttribute("aria-pressed", String(Boolean(film.turning)));
  }

  for (const film of all("[data-film]")) {
    const stage = pick(".stage:not(.broken)", film);
    const frames = all("[data-frame]", film);
    if (!stage || frames.length < 2) continue;
    frames[0].classList.add("now");
    film.classList.add("live");
    const screen = element("div", "", "screen");
    stage.replaceWith(screen);
    const button = element("button", "", "play");
    button.type = "button";
    button.setAttribute("aria-label", "Play the frames");
    button.setAttribute("aria-pressed", "false");
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, value] of Object.entries({ viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" })) drawn.setAttribute(name, value);
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
    shape.setAttribute("class", "solid");
    shape.setAttribute("d", "M6.5 4.3v11.4l9-5.7z");
    drawn.append(shape);
    button.append(drawn);
    screen.append(stage, button);
    button.addEventListener("click", () => play(film, button));
    stage.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "mouse" || film.turning) return;
      const box = stage.getBoundingClientRect();
      turn(film, frames[Math.min(frames.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * frames.length)))]);
    });
    for (const frame of frames) {
      frame.addEventListener("pointerenter", () => { if (!film.turning) turn(film, frame); });
      frame.addEventListener("focus", () => { if (!film.turning) turn(film, frame); });
    }
  }

  // ------------------------------------------------------------------ pictures in large
  let zoomed = [];
  let at = 0;

  function zoom(link) {
    zoomed = link.matches("[data-frame]") ? all("[data-frame]", link.closest(".film")) : link.matches(".stage") ? all("[data-frame]", link.closest(".film")) : all("[data-zoom]:not(.stage)");
    at = Math.max(0, zoomed.findIndex((one) => one === link || (link.matches(".stage") && one.matches(".now"))));
    let box = pick("dialog.zoom");
    if (!box) {
      box = element("dialog", "", "zoom");
      box.setAttribute("aria-label", "Picture");
      box.append(element("img"), element("p"));
      box.addEventListener("click", () => box.close());
      box.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        at = (at + step + zoomed.length) % zoomed.length;
        paint(box);
      });
      document.body.append(box);
    }
    paint(box);
    box.showModal();
  }

  function paint(box) {
    const small = pick("img", zoomed[at]);
    const big = pick("img", box);
    const large = new Image();
    large.addEventListener("load", () => { if (zoomed[at]?.getAttribute("href") === large.getAttribute("src")) big.src = large.src; });
    large.src = zoomed[at].getAttribute("href");
    big.src = small.src; // small at first, so that there is something to look at
    big.alt = small.alt;
    pick("p", box).textContent = zoomed.length > 1 ? `${at + 1} of ${zoomed.length} · ← → · Esc closes` : "Esc closes";
  }

  document.addEventListener("click", (event) => {
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey;
    const link = event.target.closest("[data-zoom], [data-frame]");
    if (!link || !plain) return;
    event.preventDefault();
    zoom(link);
  });

  // ------------------------------------------------------------------ the same result, wherever it is
  const places = all("[data-key]");
  let lit = "";

  function light(key) {
    if (key === lit) return;
    lit = key;
    for (const one of places) one.classList.toggle("lit", Boolean(key) && one.dataset.key === key && (one.matches(".slope") || document.body.matches(".pair") || fromSlope));
    for (const drawing of all(".slopes")) drawing.classList.toggle("finding", Boolean(key));
  }

  let fromSlope = false;
  function point(event) {
    const one = event.target.closest?.("[data-key]");
    fromSlope = Boolean(one?.matches(".slope"));
    if (fromSlope) one.parentNode.append(one); // on top of the others
    light(one?.dataset.key ?? "");
  }
  document.addEventListener("pointerover", point);
  document.addEventListener("focusin", point);
  for (const drawing of all(".slopes")) {
    drawing.addEventListener("click", (event) => {
      const key = event.target.closest("[data-key]")?.dataset.key;
      const behaviour = calm.matches ? "instant" : "smooth";
      for (const one of places) if (one.dataset.key === key && one.matches(".result")) one.scrollIntoView({ block: "center", inline: "nearest", behavior: behaviour });
    });
  }

  // ------------------------------------------------------------------ grades
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-judge]")) return;
    event.preventDefault();
    const button = event.submitter;
    if (!button || form.matches(".busy")) return;
    const fields = new URLSearchParams(new FormData(form));
    fields.delete("csrf");
    fields.set("grade", button.value);
    form.classList.add("busy");
    try {
      const answer = await fetch(form.getAttribute("action"), {
        method: "POST", credentials: "same-origin", body: fields.toString(),
        headers: { Accept: "application/json", "Content-Type": "application/x-www-form-urlencoded", "X-CSRF-Token": pick('meta[name="csrf"]').content },
      });
      const told = await answer.json();
      if (answer.status === 401 || answer.status === 403) { // the session has ended
        location.assign(`/serp/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
        return;
      }
      if (!told.ok) { say(told.message || "Not saved."); return; }
      for (const one of all(".grade", form)) one.setAttribute("aria-pressed", String(one === button));
      const back = pick(".back", form);
      if (button === back) pick(".grade", form).focus();
      back.hidden = button === back;
      say(button === back ? "Taken back." : `Saved: grade ${button.value}.`);
    } catch (problem) {
      say("Not saved: the server cannot be reached. Please try again.");
    } finally {
      form.classList.remove("busy");
    }
  });

  // ------------------------------------------------------------------ keys
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || pick("dialog[open]")) return;
    if (event.key === "/") { const box = pick("[data-suggest]"); if (box) { event.preventDefault(); box.focus(); box.select(); } }
  });
})();
