// What only the browser can see: whether the public URL leads it to this portal, and whether its clock is right. The
// answer it expects came with the page; nothing is sent back.
(() => {
  const place = document.getElementById("browser");
  const lines = document.getElementById("browser-lines");
  const shape = document.getElementById("browser-line");
  if (!place || !lines || !shape) return;
  const { url, path, answer } = place.dataset;
  const clockSeconds = 60;

  const tell = (kind, words, sentence, mend = "") => {
    const line = shape.content.cloneNode(true);
    line.querySelector(".state").classList.add(`state-${kind}`);
    line.querySelector(".state").textContent = words;
    line.querySelector("[data-sentence]").textContent = sentence;
    const advice = line.querySelector("[data-mend]");
    if (mend) advice.textContent = mend;
    else advice.remove();
    lines.append(line);
  };
  const ask = async (base) => {
    const began = Date.now();
    const response = await fetch(base + path, {
      credentials: "omit", cache: "no-store", redirect: "follow", signal: AbortSignal.timeout(10000),
    });
    const found = await response.json();
    return { ...found, late: (Date.now() - began) / 2 };
  };
  const reached = async () => {
    if (location.protocol === "https:" && url.startsWith("http:")) {
      return tell("unknown", "could not check", `From a page over https your browser does not ask ${url}.`,
        `Open ${url} in a new tab to see.`);
    }
    try {
      if ((await ask(url)).probe === answer) return tell("ok", "in order", `Your browser reaches this portal at ${url}.`);
      tell("danger", "wrong", `Something else than this portal answers your browser at ${url}.`,
        "Correct the DNS record, the port forward or the web server in front, or the public URL.");
    } catch {
      tell("danger", "wrong", `Your browser does not reach this portal at ${url}.`,
        `Open ${url} in a new tab: it tells whether the name is not found, nothing answers, or the certificate is not trusted.`);
    }
  };
  const clock = async () => {
    try {
      const found = await ask("");
      const skew = (Date.now() - found.late - Date.parse(found.now)) / 1000;
      if (Math.abs(skew) < clockSeconds) return tell("ok", "in order", "The clocks of your device and of the portal agree.");
      tell("warning", "look at this", `The clock of your device is ${Math.round(Math.abs(skew))} seconds ${skew > 0 ? "ahead of" : "behind"} the portal's.`,
        "Set the one that is wrong: certificates are judged by it. The lines on CAs tell of the portal's.");
    } catch {
      tell("unknown", "could not check", "The clocks of your device and of the portal could not be compared.");
    }
  };
  lines.replaceChildren();
  Promise.allSettled([reached(), clock()]);
})();
