// Counts the seconds of a trial down, and loads the page anew when they are over: it then says what came of it.
(() => {
  const place = document.querySelector("[data-seconds]");
  if (!place) return;
  const end = Date.now() + Number(place.dataset.seconds) * 1000;
  const timer = setInterval(() => {
    const left = Math.max(0, Math.round((end - Date.now()) / 1000));
    place.textContent = String(left);
    if (left > 0) return;
    clearInterval(timer);
    setTimeout(() => window.location.reload(), 3000);
  }, 1000);
})();
