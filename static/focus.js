// What is shown anew leaves the keyboard where it is: htmx moves the parts that it preserves, and moving takes the focus.
(() => {
  let stop = null;
  const lost = () => document.activeElement === null || document.activeElement === document.body;
  const back = () => {
    if (lost() && stop?.isConnected) stop.focus({ preventScroll: true });
  };
  document.addEventListener("htmx:beforeSwap", () => { stop = lost() ? null : document.activeElement; });
  document.addEventListener("htmx:afterSwap", back);
  document.addEventListener("htmx:afterSettle", back);
})();
