// A form is sent once: its buttons rest after the first press, and wake up when the page is shown again.
(() => {
  const rest = (form, on) => {
    for (const button of form.querySelectorAll("button[type=submit]")) button.setAttribute("aria-disabled", String(on));
    form.toggleAttribute("data-sent", on);
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.hasAttribute("data-again")) return;
    if (form.hasAttribute("data-sent")) {
      event.preventDefault();
      return;
    }
    rest(form, true);
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) rest(form, false);
  });
})();
