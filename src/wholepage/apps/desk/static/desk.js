/* What makes the desk quick: keys, cards that change without loading a page anew, time that counts only work, and
 * answers that survive a lost connection. Without it everything works as plain forms.
 *
 * Nothing here writes HTML out of data: pages come from the server whole and are parsed, other text is set as text.
 */
"use strict";

(() => {
  const KEPT = "wholepage.unsent"; // the answer that is not saved yet
  const IDLE_MS = 30000; // without any sign of life for as long, nobody is working
  const SETTLE_MS = 180; // a key pressed twice by mistake shall not answer the card that has only just come
  const WAITS_S = [1, 2, 4, 8, 15];

  const desk = () => document.getElementById("desk");
  const pick = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  function element(name, words, className) {
    const made = document.createElement(name);
    if (words) made.textContent = words;
    if (className) made.className = className;
    return made;
  }

  // ------------------------------------------------------------------ the time that somebody worked on this card
  const clock = {
    spent: 0, since: 0, last: 0,
    start() { this.spent = 0; this.since = document.hidden ? 0 : performance.now(); this.last = performance.now(); },
    stop() { if (this.since) this.spent += Math.max(0, Math.min(performance.now(), this.last + IDLE_MS) - this.since); this.since = 0; },
    alive() {
      const now = performance.now();
      if (now - this.last > IDLE_MS) this.stop();
      this.last = now;
      if (!this.since && !document.hidden) this.since = now;
    },
    read() { const open = this.since; this.stop(); if (open) this.since = performance.now(); return Math.round(this.spent); },
  };
  for (const sign of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"]) {
    addEventListener(sign, () => clock.alive(), { passive: true, capture: true });
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? clock.stop() : clock.alive()));

  // ------------------------------------------------------------------ saying things
  let fading = 0;
  function say(words) {
    const box = document.getElementById("says");
    clearTimeout(fading);
    box.textContent = words;
    box.hidden = !words;
    fading = setTimeout(() => { box.hidden = true; }, 2600);
  }

  function trouble(words, button, act) {
    const box = document.getElementById("trouble");
    box.replaceChildren();
    box.hidden = !words;
    if (!words) return;
    box.append(element("span", words));
    if (button) {
      const made = element("button", button, "button");
      made.type = "button";
      made.addEventListener("click", act);
      box.append(made);
    }
  }

  // ------------------------------------------------------------------ cards
  let shownAt = 0;
  function settle(first) {
    shownAt = performance.now();
    clock.start();
    for (const play of all("[data-play]")) play.hidden = false;
    for (const kept of all("details[data-remember]")) {
      const said = localStorage.getItem(`wholepage.${kept.dataset.remember}`);
      kept.open = pick(".fresh", kept) ? true : said ? said === "open" : innerWidth > 768;
    }
    const copies = pick("[data-copies]");
    if (copies && navigator.clipboard) copies.hidden = false;
    if (!pick(".work")) return;
    lookAtAsked();
    if (!first) pick("#question")?.focus({ preventScroll: true });
  }

  function lookAtAsked(smoothly = false) {
    const asked = pick(".about-grade .asked");
    if (!asked) return scrollTo({ top: 0 });
    const high = asked.getBoundingClientRect().height > innerHeight * 0.7;
    asked.scrollIntoView({ block: high || innerWidth <= 768 ? "start" : "center", behavior: smoothly && !calm.matches ? "smooth" : "instant" });
  }

  async function show(url) {
    const answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("desk");
    const styles = (of) => pick('link[rel="stylesheet"]', of)?.getAttribute("href");
    if (!next || styles(page) !== styles(document)) return location.assign(url); // another version of the desk: load it all
    desk().replaceWith(document.adoptNode(next));
    document.title = page.title;
    pick('meta[name="csrf"]').content = pick('meta[name="csrf"]', page)?.content ?? "";
    const end = new URL(answer.url);
    end.searchParams.delete("said");
    history.replaceState(null, "", end.pathname + end.search);
    settle(false);
  }

  // ------------------------------------------------------------------ sending, and not losing what was sent
  let unsent = null;
  let sending = false;
  let waiting = 0;

  function send(form, button) {
    if (sending || unsent) return;
    const time = form.elements.namedItem("active_ms");
    if (time) time.value = String(clock.read());
    const fields = new URLSearchParams(new FormData(form));
    fields.delete("csrf");
    if (button?.name) fields.set(button.name, button.value);
    button?.classList.add("chosen");
    unsent = { url: form.getAttribute("action"), body: fields.toString(), said: button?.dataset.said ?? "", done: form.dataset.send, tries: 0 };
    sessionStorage.setItem(KEPT, JSON.stringify(unsent));
    deliver();
  }

  async function deliver() {
    if (sending || !unsent) return;
    clearTimeout(waiting);
    sending = true;
    desk().classList.add("busy");
    let next = "";
    try {
      const answer = await fetch(unsent.url, {
        method: "POST", credentials: "same-origin", body: unsent.body,
        headers: { Accept: "application/json", "Content-Type": "application/x-www-form-urlencoded", "X-CSRF-Token": pick('meta[name="csrf"]').content },
      });
      if (answer.status === 429 || answer.status >= 500) throw new Error(`status ${answer.status}`);
      const told = await answer.json();
      next = told.next || location.pathname;
      if (answer.status === 401) return signedOut(next);
      if (told.ok) say(told.notice || [unsent.said, unsent.done].filter(Boolean).join(": ").replace(/\.?$/, "."));
      else say([told.title, told.message].filter(Boolean).join(": "));
      forget();
    } catch (problem) {
      return later();
    } finally {
      sending = false;
    }
    try {
      await show(next);
    } catch (problem) {
      location.assign(next);
    }
  }

  function forget() {
    unsent = null;
    sessionStorage.removeItem(KEPT);
    trouble("");
  }

  function later() {
    const wait = WAITS_S[Math.min(unsent.tries++, WAITS_S.length - 1)];
    trouble(`Not saved yet: the desk cannot be reached. Your answer is kept here and sent again in ${wait} s.`, "Send now", deliver);
    waiting = setTimeout(deliver, wait * 1000);
  }

  // A card belongs to the session it was given in, so the answer cannot be kept; the card itself comes again.
  function signedOut(next) {
    forget();
    trouble("Not saved: you were signed out. Sign in, and the same card comes again.", "Sign in", () => location.assign(next));
  }

  addEventListener("online", deliver);
  addEventListener("beforeunload", (event) => { if (unsent && !sending) event.preventDefault(); });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-send]")) return;
    event.preventDefault();
    // Return in the note of a skip sends its first reason, which nobody chose.
    if (event.submitter?.name === "reason" && document.activeElement?.name === "note") return;
    send(form, event.submitter);
  });

  // ------------------------------------------------------------------ keys
  const named = (event) => (event.key === " " ? "Space" : event.key.length === 1 ? event.key.toLowerCase() : event.key);
  const has = (keys, key) => keys.split(" ").includes(key);

  function close() {
    const open = all("details.drop[open]");
    for (const drop of open) drop.open = false;
    return open.length > 0;
  }

  function toggle(details) {
    const opens = !details.open;
    close();
    details.open = opens;
    if (opens && details.matches(".drop")) pick("textarea, .choice", details)?.focus();
    if (opens && !details.matches(".drop")) details.scrollIntoView({ block: "nearest" });
  }

  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input:not([type=hidden]), textarea, select");
    if (typing && event.key === "Enter" && (event.ctrlKey || event.metaKey) && typing.form?.matches("[data-send]")) {
      const button = all("button[type=submit]", typing.form);
      if (button.length === 1) { event.preventDefault(); typing.form.requestSubmit(button[0]); }
      return;
    }
    if (event.key === "Escape" && close()) { pick("#question")?.focus({ preventScroll: true }); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    if (pick("dialog[open]")) { stepZoom(event); return; }
    const key = named(event);
    if ((key === "Space" || key === "Enter") && event.target.closest?.("button, summary, a")) return;
    if (!pick(".work, .rest")) return;
    const special = { z: zoomAsked, p: playAsked, f: () => lookAtAsked(true) }[key];
    if (special) { event.preventDefault(); if (!event.repeat) special(); return; }
    const drop = pick("details.drop[open]");
    const within = drop ? all("[data-keys]", drop).find((button) => has(button.dataset.keys, key)) : null;
    const target = within ?? all("[data-keys]").find((one) => has(one.dataset.keys, key) && !one.closest("details.drop > :not(summary)"));
    if (!target) return;
    event.preventDefault();
    if (event.repeat) return;
    if (target.matches("details")) { toggle(target); return; }
    if (drop && !within) { close(); return; } // an answer's key while a menu is open closes the menu, and answers nothing
    if (target.disabled || performance.now() - shownAt < SETTLE_MS) return;
    target.form.requestSubmit(target);
  });

  document.addEventListener("toggle", (event) => {
    const kept = event.target.dataset?.remember;
    if (kept) localStorage.setItem(`wholepage.${kept}`, event.target.open ? "open" : "closed");
  }, true);

  // ------------------------------------------------------------------ pictures
  let zoomed = [];
  let at = 0;
  const askedOne = (selector) => pick(`.asked ${selector}`) ?? pick(`.one ${selector}`) ?? pick(`.query ${selector}`);

  function zoom(link) {
    zoomed = all("[data-zoom]", link.closest(".duel, .film, .stills, .query") ?? document);
    at = zoomed.indexOf(link);
    let box = pick("dialog.zoom");
    if (!box) {
      box = element("dialog", "", "zoom");
      box.append(element("img"), element("p"));
      box.addEventListener("click", () => box.close());
      document.body.append(box);
    }
    paint(box);
    box.showModal();
  }

  function paint(box) {
    const shown = pick("img", zoomed[at]);
    const big = pick("img", box);
    const large = new Image();
    large.addEventListener("load", () => { if (zoomed[at]?.getAttribute("href") === large.getAttribute("src")) big.src = large.src; });
    large.src = zoomed[at].getAttribute("href");
    big.src = shown.src; // small at first, so that there is something to look at
    big.alt = shown.alt;
    pick("p", box).textContent = zoomed.length > 1 ? `${at + 1} of ${zoomed.length} · ← → · Esc closes` : "Esc closes";
  }

  function stepZoom(event) {
    const box = pick("dialog.zoom[open]");
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!box) return;
    if (event.key === "z") { box.close(); return; }
    if (!step) return;
    event.preventDefault();
    at = (at + step + zoomed.length) % zoomed.length;
    paint(box);
  }

  function zoomAsked() { const link = askedOne("[data-zoom]"); if (link) zoom(link); }
  function playAsked() { for (const button of all(".asked [data-play], .one [data-play]")) play(button); }

  function play(button) {
    const film = button.closest(".film");
    const frames = all(".picture", film);
    let frame = 0;
    const turn = () => {
      for (const [index, picture] of frames.entries()) picture.classList.toggle("now", index === frame % frames.length);
      frame += 1;
      if (!film.isConnected) clearInterval(film.turning);
    };
    if (film.classList.toggle("playing")) { turn(); film.turning = setInterval(turn, 600); } else clearInterval(film.turning);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-zoom]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); zoom(link); return; }
    const button = event.target.closest("[data-play]");
    if (button) { play(button); return; }
    if (event.target.closest("[data-copies]")) {
      const field = pick("[data-copy]");
      navigator.clipboard.writeText(field.value).then(() => say("Copied."), () => field.select());
      return;
    }
    if (!event.target.closest("details.drop")) close();
  });

  // ------------------------------------------------------------------ begin
  settle(true);
  const kept = sessionStorage.getItem(KEPT);
  if (kept && pick('meta[name="csrf"]')?.content && !pick(".door")) {
    unsent = { ...JSON.parse(kept), tries: 0 };
    deliver();
  }
})();
