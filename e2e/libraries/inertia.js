// An adapter for Inertia that shows a page's text.
import { router } from '@inertiajs/core'

const main = document.querySelector('main')
router.init({
  initialPage: JSON.parse(main.dataset.page),
  resolveComponent: name => name,
  swapComponent: async ({ page }) => { main.textContent = page.props.text },
})
window.router = router
