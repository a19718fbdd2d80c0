// Copy buttons, also on plain HTTP, where browsers keep the clipboard from pages: there the field is selected and copied
// the old way. It is the field that data-copy names, or the one before the button. Without this script the buttons are
// not shown, and the fields can be selected by hand.
(() => {
  const copy = async (field) => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      return true;
    } catch {
      return document.execCommand("copy");
    }
  };
  document.documentElement.dataset.copies = "";
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button || button.hasAttribute("data-copied")) return;
    button.setAttribute("data-copied", "");
    const field = button.dataset.copy ? document.getElementById(button.dataset.copy) : button.previousElementSibling;
    const done = await copy(field);
    const before = button.innerHTML;
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => {
      button.innerHTML = before;
      button.removeAttribute("data-copied");
    }, 2000);
  });
})();
